//! RFC 6902, with pointers of RFC 6901.

use serde::Deserialize;
use serde_json::Value;

use super::PatchError;

/// Upstream's limit on operations; more is answered with 413 there, 400 here.
const MAX_OPERATIONS: usize = 10_000;
/// Bytes that `copy` operations of one patch may add: a few lines could otherwise double the object each.
const MAX_COPIED_BYTES: usize = 3 << 20;

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Operation {
    Add {
        path: String,
        value: Value,
    },
    Remove {
        path: String,
    },
    Replace {
        path: String,
        value: Value,
    },
    Move {
        from: String,
        path: String,
    },
    Copy {
        from: String,
        path: String,
    },
    Test {
        path: String,
        #[serde(default)]
        value: Value,
    },
}

pub(super) fn apply(current: &Value, patch: &Value) -> Result<Value, PatchError> {
    let operations = Vec::<Operation>::deserialize(patch)
        .map_err(|error| PatchError::Malformed(format!("error decoding patch: {error}")))?;
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::Malformed(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    let mut document = current.clone();
    let mut copied_bytes = 0;
    for operation in operations {
        step(&mut document, operation, &mut copied_bytes)?;
    }
    Ok(document)
}

fn step(
    document: &mut Value,
    operation: Operation,
    copied_bytes: &mut usize,
) -> Result<(), PatchError> {
    match operation {
        Operation::Add { path, value } => add(document, &path, value),
        Operation::Remove { path } => remove(document, &path).map(drop),
        Operation::Replace { path, value } => {
            let target = document
                .pointer_mut(&path)
                .ok_or_else(|| missing("replace", &path))?;
            *target = value;
            Ok(())
        }
        Operation::Move { from, path } => {
            if path.starts_with(&format!("{from}/")) {
                return Err(PatchError::DoesNotApply(format!(
                    "{from:?} cannot be moved into itself"
                )));
            }
            let value = remove(document, &from)?;
            add(document, &path, value)
        }
        Operation::Copy { from, path } => {
            let value = document
                .pointer(&from)
                .ok_or_else(|| missing("copy", &from))?
                .clone();
            *copied_bytes += value.to_string().len();
            if *copied_bytes > MAX_COPIED_BYTES {
                return Err(PatchError::DoesNotApply(format!(
                    "copies of more than {MAX_COPIED_BYTES} bytes in one patch"
                )));
            }
            add(document, &path, value)
        }
        Operation::Test { path, value } => {
            let found = document.pointer(&path).unwrap_or(&Value::Null);
            if *found == value {
                return Ok(());
            }
            Err(PatchError::DoesNotApply(format!(
                "testing path {path} failed"
            )))
        }
    }
}

fn add(document: &mut Value, path: &str, value: Value) -> Result<(), PatchError> {
    let Some((parent, key)) = split(path)? else {
        *document = value;
        return Ok(());
    };
    match document.pointer_mut(parent) {
        Some(Value::Object(object)) => {
            object.insert(key, value);
            Ok(())
        }
        Some(Value::Array(list)) => {
            let at = if key == "-" {
                Some(list.len())
            } else {
                index(&key)
            };
            match at.filter(|at| *at <= list.len()) {
                Some(at) => {
                    list.insert(at, value);
                    Ok(())
                }
                None => Err(missing("add", path)),
            }
        }
        _ => Err(missing("add", path)),
    }
}

fn remove(document: &mut Value, path: &str) -> Result<Value, PatchError> {
    let Some((parent, key)) = split(path)? else {
        return Err(PatchError::DoesNotApply(
            "the whole object cannot be removed".to_owned(),
        ));
    };
    let removed = match document.pointer_mut(parent) {
        Some(Value::Object(object)) => object.remove(&key),
        Some(Value::Array(list)) => index(&key)
            .filter(|at| *at < list.len())
            .map(|at| list.remove(at)),
        _ => None,
    };
    removed.ok_or_else(|| missing("remove", path))
}

/// Pointer to the parent, unescaped last token; `None` for the whole document.
fn split(path: &str) -> Result<Option<(&str, String)>, PatchError> {
    if path.is_empty() {
        return Ok(None);
    }
    match path.rsplit_once('/') {
        Some((parent, token)) if path.starts_with('/') => {
            Ok(Some((parent, token.replace("~1", "/").replace("~0", "~"))))
        }
        _ => Err(PatchError::DoesNotApply(format!(
            "path {path:?} does not start with \"/\""
        ))),
    }
}

/// RFC 6901: digits without leading zeros.
fn index(token: &str) -> Option<usize> {
    let plain = token == "0" || !token.starts_with(['0', '+']);
    if plain { token.parse().ok() } else { None }
}

fn missing(operation: &str, path: &str) -> PatchError {
    PatchError::DoesNotApply(format!(
        "{operation} operation does not apply: doc is missing path: {path:?}: missing value"
    ))
}
