//! The three ways to change an object in place: JSON patch, merge patch, strategic merge patch.

mod json;
mod merge;
mod order;
mod strategic;
#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::error::{ApiError, FieldError};
use crate::kind::KindSpec;
use crate::schema::arena;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchKind {
    /// `application/json-patch+json`, RFC 6902.
    Json,
    /// `application/merge-patch+json`, RFC 7386.
    Merge,
    /// `application/strategic-merge-patch+json`.
    Strategic,
}

/// Why a patch could not be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum PatchError {
    /// The body is not a patch of its kind.
    #[error("{0}")]
    Malformed(String),
    /// It does not fit the object.
    #[error("{0}")]
    DoesNotApply(String),
}

/// The patched tree, not yet decoded: give it to [`crate::codec::decode_value`], then to `prepare::update`.
///
/// Errors: 400 for a patch that is not one, 422 for one that does not fit the object.
pub fn apply(
    kind: &KindSpec,
    patch: PatchKind,
    current: &Value,
    body: &Value,
) -> Result<Value, ApiError> {
    let patched = match patch {
        PatchKind::Json => json::apply(current, body),
        PatchKind::Merge => merge::apply(current, body),
        PatchKind::Strategic => match arena().find(kind.root_type) {
            Some(of) => strategic::apply(of, current, body),
            None => {
                return Err(ApiError::Internal(format!(
                    "no schema for {}",
                    kind.root_type
                )));
            }
        },
    };
    patched.map_err(|error| match error {
        PatchError::Malformed(reason) => ApiError::BadRequest(reason),
        PatchError::DoesNotApply(reason) => ApiError::Invalid {
            kind: kind.group_kind(),
            name: current["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            errors: vec![FieldError::invalid("patch", body, reason)],
        },
    })
}
