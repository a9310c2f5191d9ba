//! Objects between their stored bytes and the tree that the API shows.
//!
//! Stored: JSON without `metadata.resourceVersion`, which is the key's revision. Kinds served under two groups (Events)
//! are stored under the names of one of them.

use bytes::Bytes;
use portcullis_resource::error::ApiError;
use portcullis_resource::kind::KindSpec;
use portcullis_store::{KeyValue, Revision};
use rand::Rng;
use serde_json::{Map, Value, json};

/// Where one object is stored. `namespace` is empty for cluster kinds.
pub(crate) fn key(kind: &KindSpec, namespace: &str, name: &str) -> String {
    format!("{}{name}", prefix(kind, namespace))
}

/// What the keys of a collection start with; all namespaces where `namespace` is empty.
pub(crate) fn prefix(kind: &KindSpec, namespace: &str) -> String {
    if kind.namespaced && !namespace.is_empty() {
        format!("/registry/{}/{namespace}/", kind.storage_prefix)
    } else {
        format!("/registry/{}/", kind.storage_prefix)
    }
}

/// The object at a key, in the version of `kind`, with its resourceVersion.
pub(crate) fn decode(kind: &KindSpec, stored: &KeyValue) -> Result<Value, ApiError> {
    Ok(shown_as(kind, decode_stored(stored, stored.modified)?))
}

/// The object as it is stored, with a resourceVersion that may be another than the key's own: deletions happen after the
/// last write.
pub(crate) fn decode_stored(stored: &KeyValue, revision: Revision) -> Result<Value, ApiError> {
    let mut object: Value = serde_json::from_slice(&stored.value).map_err(|e| {
        ApiError::Internal(format!(
            "the stored object {} cannot be read: {e}",
            stored.key
        ))
    })?;
    set_resource_version(&mut object, &revision.to_string());
    Ok(object)
}

/// What is stored of an object.
pub(crate) fn encode(kind: &KindSpec, object: &Value) -> Bytes {
    let mut stored = stored_as(kind, object.clone());
    if let Some(Value::Object(metadata)) = stored.get_mut("metadata") {
        metadata.remove("resourceVersion");
    }
    Bytes::from(stored.to_string())
}

pub(crate) fn set_resource_version(object: &mut Value, version: &str) {
    if let Value::Object(fields) = object {
        let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
        if let Value::Object(metadata) = metadata {
            metadata.insert("resourceVersion".to_owned(), json!(version));
        }
    }
}

/// An object under the names of the stored version.
pub(crate) fn stored_as(kind: &KindSpec, object: Value) -> Value {
    rename(kind, object, |(shown, stored)| (shown, stored))
}

/// A stored object under the names of `kind`.
pub(crate) fn shown_as(kind: &KindSpec, object: Value) -> Value {
    let mut object = rename(kind, object, |(shown, stored)| (stored, shown));
    if !kind.renamed_in_storage.is_empty() {
        object["apiVersion"] = json!(kind.api_version());
    }
    object
}

fn rename(
    kind: &KindSpec,
    object: Value,
    direction: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str),
) -> Value {
    let Value::Object(mut fields) = object else {
        return object;
    };
    if kind.renamed_in_storage.is_empty() {
        return Value::Object(fields);
    }
    let mut renamed = Map::new();
    for pair in kind.renamed_in_storage {
        let (from, to) = direction(*pair);
        if let Some(value) = fields.remove(from) {
            renamed.insert(to.to_owned(), value);
        }
    }
    fields.append(&mut renamed);
    fields.insert("apiVersion".to_owned(), json!("v1"));
    Value::Object(fields)
}

pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Five characters that cannot form words (`apiserver/pkg/storage/names`).
pub(crate) fn random_suffix() -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut random = rand::rng();
    (0..5)
        .map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_resource::kind;

    #[test]
    fn events_are_one_object_under_two_names() {
        let core = kind::by_resource("", "v1", "events").expect("is served");
        let group = kind::by_resource("events.k8s.io", "v1", "events").expect("is served");
        assert_eq!(key(core, "ns", "e"), key(group, "ns", "e"));
        let event = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e", "resourceVersion": "3"},
            "note": "hello", "regarding": {"name": "web"}, "reportingController": "c",
        });
        let stored = KeyValue {
            key: key(core, "ns", "e"),
            value: encode(group, &event),
            created: Revision(3),
            modified: Revision(3),
        };
        let shown = decode(core, &stored).expect("decodes");
        assert_eq!(shown["message"], "hello");
        assert_eq!(
            (&shown["apiVersion"], &shown["involvedObject"]["name"]),
            (&json!("v1"), &json!("web"))
        );
        assert_eq!(decode(group, &stored).expect("decodes"), event);
    }
}
