//! PATCH: applied to the present state, again if that changed meanwhile.

use http::{HeaderMap, Response, StatusCode};
use portcullis_resource::codec::{self, Decoded};
use portcullis_resource::error::ApiError;
use portcullis_resource::patch::{self, PatchKind};
use portcullis_resource::prepare;
use serde_json::Value;

use crate::authz;
use crate::body::Body;
use crate::call::{Call, content_type};
use crate::encode;
use crate::verb::service_change;
use crate::write::change;

pub(crate) async fn patch(mut call: Call) -> Result<Response<Body>, ApiError> {
    let negotiated = encode::negotiate(&call.headers, &call.query, call.verb)?;
    let (kind_of_patch, body) = patch_of(&mut call).await?;
    let validation = call.field_validation()?;
    let name = call.path.name.clone();
    let mut warnings = Vec::new();
    let object = change(&call, &name, |current| {
        let patched = patch::apply(call.kind, kind_of_patch, current, &body)?;
        let Decoded {
            object,
            warnings: found,
        } = codec::decode_value(call.kind.root_type, &patched, validation)?;
        warnings = found;
        authz::check_escalation(&call, Some(current), &object)?;
        let context = call.context(&name);
        service_change(&call, current, &object, context, |context| {
            prepare::update(
                call.kind,
                call.subresource,
                current,
                object.clone(),
                context,
            )
        })
    });
    let object = object.await?;
    let response = encode::send(
        call.kind,
        &call.headers,
        &negotiated,
        StatusCode::OK,
        object,
    );
    Ok(encode::with_warnings(response, &warnings))
}

/// The patch of a request and its kind.
///
/// # Errors
/// 415 for content types that are no patch, 400 for a body that is no JSON.
pub(crate) async fn patch_of(call: &mut Call) -> Result<(PatchKind, Value), ApiError> {
    let kind = patch_kind(&call.headers)?;
    let bytes = call.bytes().await?;
    let body: Value = serde_json::from_slice(&bytes)
        .map_err(|e| ApiError::BadRequest(format!("error decoding patch: {e}")))?;
    match (kind, &body) {
        (PatchKind::Json, Value::Array(operations)) if operations.len() > MAX_PATCH_OPERATIONS => {
            Err(ApiError::RequestEntityTooLarge {
                limit_bytes: MAX_PATCH_OPERATIONS as u64,
            })
        }
        _ => Ok((kind, body)),
    }
}

fn patch_kind(headers: &HeaderMap) -> Result<PatchKind, ApiError> {
    match content_type(headers) {
        "application/json-patch+json" => Ok(PatchKind::Json),
        "application/merge-patch+json" => Ok(PatchKind::Merge),
        "application/strategic-merge-patch+json" => Ok(PatchKind::Strategic),
        "application/apply-patch+yaml" | "application/apply-patch+cbor" => Err(ApiError::UnsupportedMediaType {
            message: "server-side apply is not served here; use client-side apply (kubectl apply without \
                      --server-side) or one of application/json-patch+json, application/merge-patch+json, \
                      application/strategic-merge-patch+json"
                .to_owned(),
        }),
        _ => Err(ApiError::UnsupportedMediaType {
            message: "the body of the request was in an unknown format - accepted media types include: \
                      application/json-patch+json, application/merge-patch+json, \
                      application/strategic-merge-patch+json"
                .to_owned(),
        }),
    }
}

/// Upstream's limit of operations in one JSON patch.
const MAX_PATCH_OPERATIONS: usize = 10_000;
