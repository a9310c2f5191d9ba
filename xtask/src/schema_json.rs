//! Reads what the published JSON schema alone says: required, list types, merge keys, enums, kinds.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

pub struct JsonSchemas {
    definitions: Value,
    /// Inlined structs have no definition: their properties stand in the one that inlines them.
    inlined_in: BTreeMap<String, String>,
}

impl JsonSchemas {
    pub fn parse(text: &str) -> Result<Self> {
        let mut document: Value = serde_json::from_str(text)?;
        let definitions = document
            .get_mut("$defs")
            .context("the JSON schema has no $defs")?
            .take();
        Ok(JsonSchemas {
            definitions,
            inlined_in: BTreeMap::new(),
        })
    }

    pub fn note_inlined(&mut self, inlined: String, parent: String) {
        self.inlined_in.insert(inlined, parent);
    }

    fn definition(&self, name: &str) -> &Value {
        match self.inlined_in.get(name) {
            Some(parent) if self.definitions.get(name).is_none() => self.definition(parent),
            _ => &self.definitions[name],
        }
    }

    pub fn is_required(&self, definition: &str, field: &str) -> bool {
        let required = self.definition(definition)["required"].as_array();
        required.is_some_and(|names| names.iter().any(|name| name == field))
    }

    /// The table's words for one property: list type, patch strategy, map type, enum.
    pub fn words(&self, definition: &str, field: &str) -> Vec<String> {
        let property = &self.definition(definition)["properties"][field];
        let text = |name: &str| property[name].as_str();
        let mut words = Vec::new();
        match text("x-kubernetes-list-type") {
            Some("map") => words.push(format!(
                "map={}",
                join(&property["x-kubernetes-list-map-keys"], ",")
            )),
            Some(list_type) => words.push(list_type.to_owned()),
            None => {}
        }
        if let Some(strategy) = text("x-kubernetes-patch-strategy") {
            words.push(format!("patch={strategy}"));
        }
        if let Some(key) = text("x-kubernetes-patch-merge-key") {
            words.push(format!("key={key}"));
        }
        if text("x-kubernetes-map-type") == Some("atomic") {
            words.push("granular=no".to_owned());
        }
        // apiVersion and kind carry enums too, but they are not rows of the table.
        let strings_only = property["enum"]
            .as_array()
            .is_some_and(|values| values.iter().all(|v| v.is_string() || v.is_null()));
        if strings_only {
            words.push(format!("enum={}", join(&property["enum"], "|")));
        }
        words
    }

    /// Words about the type itself.
    pub fn type_words(&self, definition: &str) -> Vec<String> {
        let mut words = Vec::new();
        if self.definition(definition)["x-kubernetes-map-type"] == "atomic" {
            words.push("granular=no".to_owned());
        }
        let kinds = self.definition(definition)["x-kubernetes-group-version-kind"].as_array();
        if let Some([only]) = kinds.map(Vec::as_slice) {
            let part = |name: &str| only[name].as_str().unwrap_or_default().to_owned();
            words.push(format!(
                "kind={}/{}/{}",
                part("group"),
                part("version"),
                part("kind")
            ));
        }
        words
    }
}

fn join(values: &Value, separator: &str) -> String {
    let texts: Vec<&str> = values
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    texts.join(separator)
}
