//! Reads what Go's struct tags alone say: pointers, `omitempty`, inlined structs.

use std::collections::BTreeMap;

#[derive(Default)]
pub struct GoPackage {
    /// By type name, then by the protobuf field name.
    fields: BTreeMap<String, BTreeMap<String, GoField>>,
    /// Types that carry apiVersion and kind.
    with_type_meta: Vec<String>,
}

#[derive(Clone)]
pub struct GoField {
    pub json_name: String,
    pub pointer: bool,
    pub omitempty: bool,
    pub omitzero: bool,
    /// The JSON of this struct's fields stands in the parent.
    pub inline: bool,
}

impl GoPackage {
    pub fn parse(source: &str) -> Self {
        let mut package = GoPackage::default();
        let mut current: Option<String> = None;
        for line in source.lines() {
            if let Some(name) = line
                .strip_prefix("type ")
                .and_then(|rest| rest.strip_suffix(" struct {"))
            {
                current = Some(name.to_owned());
            } else if line == "}" {
                current = None;
            } else if let Some(name) = &current {
                package.read_field(name, line.trim());
            }
        }
        package
    }

    pub fn field(&self, message: &str, proto_name: &str) -> Option<&GoField> {
        self.fields.get(message)?.get(proto_name)
    }

    pub fn has_type_meta(&self, message: &str) -> bool {
        self.with_type_meta.iter().any(|name| name == message)
    }

    fn read_field(&mut self, message: &str, line: &str) {
        let Some((left, tags)) = line.split_once('`') else {
            return;
        };
        let words: Vec<&str> = left.split_whitespace().collect();
        let Some(go_type) = words.last() else { return };
        if left.starts_with("//") {
            return;
        }
        if words.len() == 1 && go_type.trim_start_matches("metav1.") == "TypeMeta" {
            self.with_type_meta.push(message.to_owned());
            return;
        }
        let Some(protobuf) = tag(tags, "protobuf") else {
            return;
        };
        let named = protobuf.split(',').find_map(|p| p.strip_prefix("name="));
        let proto_name = named.map_or_else(|| lower_first(words[0]), str::to_owned);
        let json = tag(tags, "json").unwrap_or_default();
        let mut options = json.split(',');
        let json_name = options.next().unwrap_or_default().to_owned();
        let options: Vec<&str> = options.collect();
        let field = GoField {
            inline: json_name.is_empty(),
            json_name,
            pointer: go_type.starts_with('*'),
            omitempty: options.contains(&"omitempty"),
            omitzero: options.contains(&"omitzero"),
        };
        self.fields
            .entry(message.to_owned())
            .or_default()
            .insert(proto_name, field);
    }
}

fn tag<'a>(tags: &'a str, name: &str) -> Option<&'a str> {
    let start = tags.find(&format!("{name}:\""))? + name.len() + 2;
    tags[start..].split('"').next()
}

/// `v1.EphemeralContainerCommon` is `ephemeralContainerCommon` in protobuf.
fn lower_first(go_name: &str) -> String {
    let name = go_name.rsplit('.').next().unwrap_or(go_name);
    let mut letters = name.chars();
    letters
        .next()
        .map(|first| first.to_lowercase().chain(letters).collect())
        .unwrap_or_default()
}
