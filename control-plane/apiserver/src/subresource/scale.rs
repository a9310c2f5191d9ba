//! `scale`: replicas of a Deployment or ReplicaSet, without knowing the rest of it.

use http::{Response, StatusCode};
use portcullis_resource::codec;
use portcullis_resource::error::ApiError;
use portcullis_resource::kind::SCALE;
use portcullis_resource::patch::{self, PatchKind};
use portcullis_resource::prepare;
use portcullis_resource::request::Verb;
use serde_json::Value;

use crate::body::Body;
use crate::call::Call;
use crate::encode;
use crate::verb::patch_of;
use crate::write::{Change, change};

pub(super) async fn answer(mut call: Call) -> Result<Response<Body>, ApiError> {
    let negotiated = encode::negotiate(&call.headers, &call.query, call.verb)?;
    let name = call.path.name.clone();
    let object = match call.verb {
        Verb::Get => {
            let found = call.api.find(call.kind, call.namespace(), &name).await?;
            found.ok_or_else(|| call.not_found(&name))?.0
        }
        Verb::Patch => {
            let (kind_of_patch, body) = patch_of(&mut call).await?;
            let validation = call.field_validation()?;
            let scale = |current: &Value| -> Result<Change, ApiError> {
                let scale = prepare::scale_of(call.kind, current)?;
                let patched = apply(kind_of_patch, &scale, &body, call.kind)?;
                let scale = codec::decode_value(SCALE.root_type, &patched, validation)?.object;
                prepare::update_scale(call.kind, current, &scale, &call.context(&name))
                    .map(Change::from)
            };
            change(&call, &name, scale).await?
        }
        _ => {
            let scale = call.decode(SCALE.root_type).await?.object;
            change(&call, &name, |current| {
                prepare::update_scale(call.kind, current, &scale, &call.context(&name))
                    .map(Change::from)
            })
            .await?
        }
    };
    let scale = prepare::scale_of(call.kind, &object)?;
    Ok(encode::raw(
        &call.headers,
        negotiated.format,
        StatusCode::OK,
        &scale,
    ))
}

/// A Scale has no lists to merge, so a strategic patch of it is a merge patch.
fn apply(
    kind_of_patch: PatchKind,
    scale: &Value,
    body: &Value,
    kind: &portcullis_resource::kind::KindSpec,
) -> Result<Value, ApiError> {
    let plain = match kind_of_patch {
        PatchKind::Strategic => PatchKind::Merge,
        other => other,
    };
    patch::apply(kind, plain, scale, body)
}
