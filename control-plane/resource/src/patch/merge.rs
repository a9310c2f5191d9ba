//! RFC 7386.

use serde_json::{Map, Value};

use super::PatchError;

pub(super) fn apply(current: &Value, patch: &Value) -> Result<Value, PatchError> {
    if !patch.is_object() {
        return Err(PatchError::Malformed(
            "a merge patch must be a JSON object".to_owned(),
        ));
    }
    Ok(merge(current, patch))
}

fn merge(current: &Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else {
        return patch.clone();
    };
    let empty = Map::new();
    let mut merged = current.as_object().unwrap_or(&empty).clone();
    for (key, change) in changes {
        if change.is_null() {
            merged.remove(key);
        } else {
            let before = merged.get(key).unwrap_or(&Value::Null);
            let after = merge(before, change);
            merged.insert(key.clone(), after);
        }
    }
    Value::Object(merged)
}
