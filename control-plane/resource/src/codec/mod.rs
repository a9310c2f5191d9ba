//! Bodies in and out: JSON, YAML and Kubernetes' protobuf, all driven by the schema arena.
//!
//! A decoded object is normal: it holds what Go's typed decode and encode would leave (no nulls, no empty optional
//! values, quantities and times in canonical text), so two ways of writing one object compare equal.

mod findings;
pub mod instant;
mod protobuf;
pub mod quantity;
mod scalar;
#[cfg(test)]
mod tests;
mod walk;

use serde::de::{DeserializeSeed, Deserializer};
use serde_json::Value;

use crate::error::ApiError;
use crate::schema::{Type, arena};
use findings::Findings;
use walk::{Expect, Place};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaType {
    Json,
    Yaml,
    Protobuf,
}

/// What happens to unknown and duplicate fields (`?fieldValidation=`; absent means `Warn`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldValidation {
    Strict,
    Warn,
    Ignore,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    pub object: Value,
    /// For `Warning: 299` headers.
    pub warnings: Vec<String>,
}

/// Decodes one body. A body without apiVersion and kind gets those of `root_type`; other ones are refused.
///
/// Errors: 400 for syntax, types and (Strict) unknown or duplicate fields.
pub fn decode(
    root_type: &str,
    media: MediaType,
    bytes: &[u8],
    validation: FieldValidation,
) -> Result<Decoded, ApiError> {
    let of = root(root_type)?;
    match media {
        MediaType::Json => {
            let mut deserializer = serde_json::Deserializer::from_slice(bytes);
            let decoded = read(of, &mut deserializer, validation)?;
            deserializer
                .end()
                .map_err(|error| syntax(&error.to_string()))?;
            Ok(decoded)
        }
        MediaType::Yaml => {
            let tree: Value =
                serde_saphyr::from_slice(bytes).map_err(|error| syntax(&error.to_string()))?;
            read(of, &tree, validation)
        }
        MediaType::Protobuf => {
            let tree =
                protobuf::decode(of, bytes).map_err(|e| ApiError::BadRequest(e.to_string()))?;
            read(of, &tree, FieldValidation::Ignore)
        }
    }
}

/// Decodes an object that is already a tree: what a patch made.
pub fn decode_value(
    root_type: &str,
    value: &Value,
    validation: FieldValidation,
) -> Result<Decoded, ApiError> {
    read(root(root_type)?, value, validation)
}

/// `k8s\0`, then `runtime.Unknown` with the object inside.
pub fn encode_protobuf(root_type: &str, object: &Value) -> Result<Vec<u8>, ApiError> {
    let of = root(root_type)?;
    protobuf::encode(of, object).map_err(|error| ApiError::Internal(error.to_string()))
}

/// Adds what Go's encoder writes though nobody said it: structs by value, zeros without `omitempty`.
pub(crate) fn complete(root_type: &str, object: &mut Value) -> Result<(), ApiError> {
    let of = root(root_type)?;
    if let Some(object) = object.as_object_mut() {
        scalar::complete(of, object);
    }
    Ok(())
}

fn root(name: &str) -> Result<&'static Type, ApiError> {
    arena()
        .find(name)
        .ok_or_else(|| ApiError::Internal(format!("no schema for {name}")))
}

fn read<'de, D: Deserializer<'de>>(
    of: &'static Type,
    deserializer: D,
    validation: FieldValidation,
) -> Result<Decoded, ApiError> {
    let mut findings = Findings::default();
    let place = Place {
        findings: &mut findings,
        expect: Expect::Struct(of),
        owner: of.short_name(),
    };
    let result = place.deserialize(deserializer);
    let Findings {
        strict, failure, ..
    } = findings;
    let object = match (result, failure) {
        (_, Some(reason)) => return Err(unusable(of, &reason)),
        (Err(error), None) => return Err(syntax(&error.to_string())),
        (Ok(Some(object @ Value::Object(_))), None) => object,
        (Ok(_), None) => return Err(unusable(of, "the body is not an object")),
    };
    let object = with_type_meta(of, object)?;
    match validation {
        FieldValidation::Strict if !strict.is_empty() => Err(unusable(
            of,
            &format!("strict decoding error: {}", strict.join(", ")),
        )),
        FieldValidation::Warn => Ok(Decoded {
            object,
            warnings: strict,
        }),
        _ => Ok(Decoded {
            object,
            warnings: Vec::new(),
        }),
    }
}

/// Fills in apiVersion and kind, or refuses a body that says it is something else.
fn with_type_meta(of: &'static Type, mut object: Value) -> Result<Value, ApiError> {
    let Some([group, version, kind]) = of.kind else {
        return Ok(object);
    };
    let expected = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    let said = |name: &str| object[name].as_str().filter(|text| !text.is_empty());
    if let Some(other) = said("kind").filter(|k| *k != kind) {
        let said_version = said("apiVersion").unwrap_or(&expected);
        let said_version = said_version.rsplit('/').next().unwrap_or_default();
        return Err(ApiError::BadRequest(format!(
            "{other} in version \"{said_version}\" cannot be handled as a {kind}: the kind in the data does not match"
        )));
    }
    if let Some(other) = said("apiVersion").filter(|v| *v != expected) {
        return Err(ApiError::BadRequest(format!(
            "the API version in the data ({other}) does not match the expected API version ({expected})"
        )));
    }
    object["apiVersion"] = Value::String(expected);
    object["kind"] = Value::String(kind.to_owned());
    Ok(object)
}

fn unusable(of: &Type, reason: &str) -> ApiError {
    let (version, kind) = match of.kind {
        Some([_, version, kind]) => (version, kind),
        None => ("v1", of.short_name()),
    };
    ApiError::BadRequest(format!(
        "{kind} in version \"{version}\" cannot be handled as a {kind}: {reason}"
    ))
}

fn syntax(reason: &str) -> ApiError {
    ApiError::BadRequest(format!(
        "couldn't get version/kind; json parse error: {reason}"
    ))
}
