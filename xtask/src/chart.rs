//! What the chart says about its values, derived from values.yaml: a JSON schema with a description per key, and the tree
//! of known keys that NOTES look typing errors up in.
//!
//! Comments above a key: `# -- text` is its description, going on in further lines; `# @type a,b` and `# @enum a,b` say
//! more than the default does; `# @open` takes any key below, `# @closed` none that is not listed; `# @secrets` is the
//! form of `rbac.secrets`.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::Context;
use serde_json::{Map, Value, json};

pub(crate) fn generate() -> anyhow::Result<()> {
    let chart = directory();
    let text = fs::read_to_string(chart.join("values.yaml")).context("values.yaml")?;
    for (name, content) in derive(&text)? {
        fs::write(chart.join(name), content).context(name)?;
    }
    Ok(())
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../charts/portcullis")
}

/// Files of the chart with their content.
fn derive(text: &str) -> anyhow::Result<[(&'static str, String); 2]> {
    let values: Value = serde_saphyr::from_str(text)?;
    let remarks = remarks(text);
    let mut schema = schema(&values, "", &remarks)?;
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!("Values of the chart portcullis");
    let pretty = |value: &Value| serde_json::to_string_pretty(value).map(|text| text + "\n");
    Ok([
        ("values.schema.json", pretty(&schema)?),
        ("files/keys.json", pretty(&keys(&values, "", &remarks))?),
    ])
}

#[derive(Default)]
struct Remark {
    description: String,
    types: Vec<String>,
    choices: Vec<String>,
    is_open: bool,
    is_closed: bool,
    is_secrets: bool,
}

type Remarks = BTreeMap<String, Remark>;

/// By the key's path, its parts joined by dots.
fn remarks(text: &str) -> Remarks {
    let mut found = Remarks::new();
    let mut above = Remark::default();
    let mut parents: Vec<(usize, String)> = Vec::new();
    for line in text.lines() {
        let content = line.trim_start();
        let indent = line.len() - content.len();
        if let Some(comment) = content.strip_prefix('#') {
            above.take(comment.trim());
            continue;
        }
        let Some((key, _)) = content
            .split_once(':')
            .filter(|_| !content.starts_with('-'))
        else {
            above = Remark::default();
            continue;
        };
        parents.retain(|(depth, _)| *depth < indent);
        parents.push((indent, key.to_owned()));
        let path: Vec<_> = parents.iter().map(|(_, key)| key.as_str()).collect();
        found.insert(path.join("."), std::mem::take(&mut above));
    }
    found
}

impl Remark {
    fn take(&mut self, comment: &str) {
        let list = |text: &str| text.split(',').map(str::to_owned).collect();
        if let Some(text) = comment.strip_prefix("-- ") {
            self.description = text.to_owned();
        } else if let Some(text) = comment.strip_prefix("@type ") {
            self.types = list(text);
        } else if let Some(text) = comment.strip_prefix("@enum ") {
            self.choices = list(text);
        } else if comment == "@open" {
            self.is_open = true;
        } else if comment == "@closed" {
            self.is_closed = true;
        } else if comment == "@secrets" {
            self.is_secrets = true;
        } else if !self.description.is_empty() {
            self.description += " ";
            self.description += comment;
        }
    }
}

fn schema(value: &Value, path: &str, remarks: &Remarks) -> anyhow::Result<Value> {
    let nothing = Remark::default();
    let remark = remarks.get(path).unwrap_or(&nothing);
    let mut schema = match value {
        _ if remark.is_secrets => secrets(),
        _ if !remark.types.is_empty() => json!({ "type": remark.types }),
        Value::Object(map) if is_listed(map, path, remarks) => {
            let properties = map.iter().map(|(key, value)| {
                Ok((
                    key.clone(),
                    self::schema(value, &below(path, key), remarks)?,
                ))
            });
            let properties: Map<_, _> = properties.collect::<anyhow::Result<_>>()?;
            let mut object = json!({ "type": "object", "properties": properties });
            if remark.is_closed {
                object["additionalProperties"] = json!(false);
            }
            object
        }
        Value::Object(_) => json!({ "type": ["object", "null"] }),
        Value::Array(_) => json!({ "type": ["array", "null"] }),
        Value::String(_) if !remark.choices.is_empty() => json!({ "enum": remark.choices }),
        Value::String(_) => json!({ "type": ["string", "null"] }),
        Value::Bool(_) => json!({ "type": "boolean" }),
        Value::Number(_) => json!({ "type": "integer" }),
        Value::Null => anyhow::bail!("{path} has no default to tell its type by: add @type"),
    };
    let is_branch = schema.get("properties").is_some();
    if !remark.description.is_empty() {
        schema["description"] = json!(remark.description);
    } else if !is_branch && !remark.is_open {
        anyhow::bail!("{path} has no description");
    }
    if !is_branch {
        schema["default"] = value.clone();
    }
    Ok(schema)
}

/// Whether the keys of this map are the chart's own: a map that is open is the user's, but for what is described.
fn is_listed(map: &Map<String, Value>, path: &str, remarks: &Remarks) -> bool {
    let is_open = remarks.get(path).is_some_and(|remark| remark.is_open);
    let prefix = format!("{path}.");
    let is_described = remarks
        .iter()
        .any(|(path, remark)| path.starts_with(&prefix) && !remark.description.is_empty());
    !map.is_empty() && (!is_open || is_described)
}

fn secrets() -> Value {
    json!({ "oneOf": [
        { "enum": ["cluster", null], "description": "All Secrets of the cluster" },
        {
            "type": "object",
            "properties": { "namespaces": {
                "type": "array",
                "items": { "type": "string" },
                "description": "Namespaces whose Secrets may be read",
            }},
            "required": ["namespaces"],
            "additionalProperties": false,
        },
    ]})
}

/// Maps of known keys; `true` where anything goes.
fn keys(value: &Value, path: &str, remarks: &Remarks) -> Value {
    let is_open = remarks.get(path).is_some_and(|remark| remark.is_open);
    match value {
        Value::Object(map) if !map.is_empty() && !is_open => {
            let known = map
                .iter()
                .map(|(key, value)| (key.clone(), keys(value, &below(path, key), remarks)));
            Value::Object(known.collect())
        }
        _ => Value::Bool(true),
    }
}

fn below(path: &str, key: &str) -> String {
    match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_committed_is_what_values_yaml_says() {
        let chart = directory();
        let text = fs::read_to_string(chart.join("values.yaml")).unwrap();
        for (name, content) in derive(&text).unwrap() {
            let committed = fs::read_to_string(chart.join(name)).unwrap();
            assert!(
                committed == content,
                "{name} is not current: cargo run -p portcullis-xtask -- chart"
            );
        }
    }

    #[test]
    fn comments_become_schema_and_keys() {
        let text = "# Head.\n\n# -- One\n# and more\n# @enum ,a\none: ''\n# @open\ntwo:\n  # -- Inner\n  \
                    inner: 1\n  # -- Free\n  # @open\n  free:\n    cpu: 1\n# -- Three\n# @closed\nthree:\n  \
                    # -- Null\n  # @type string,null\n  four: null\n";
        let [(_, schema), (_, keys)] = derive(text).unwrap();
        let schema: Value = serde_json::from_str(&schema).unwrap();
        let properties = &schema["properties"];
        assert_eq!(properties["one"]["description"], "One and more");
        assert_eq!(properties["one"]["enum"], json!(["", "a"]));
        assert_eq!(properties["two"]["properties"]["inner"]["type"], "integer");
        assert_eq!(
            properties["two"]["properties"]["free"]["type"],
            json!(["object", "null"])
        );
        assert_eq!(properties["three"]["additionalProperties"], false);
        assert_eq!(
            properties["three"]["properties"]["four"]["type"],
            json!(["string", "null"])
        );
        let keys: Value = serde_json::from_str(&keys).unwrap();
        assert_eq!(
            keys,
            json!({"one": true, "two": true, "three": {"four": true}})
        );
        assert!(
            derive("five: 5\n")
                .unwrap_err()
                .to_string()
                .contains("five has no description")
        );
    }
}
