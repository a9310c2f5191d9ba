//! `pods/eviction`: a deletion that disruption budgets may refuse. No budgets are served here, so none refuses.

use http::{Response, StatusCode};
use portcullis_resource::error::ApiError;
use portcullis_resource::kind::EVICTION;
use portcullis_resource::prepare::DeleteOptions;
use serde_json::json;

use super::success;
use crate::body::Body;
use crate::call::Call;
use crate::verb::delete_object;
use crate::{encode, object};

pub(super) async fn answer(mut call: Call) -> Result<Response<Body>, ApiError> {
    let negotiated = encode::negotiate(&call.headers, &call.query, call.verb)?;
    let eviction = call.decode(EVICTION.root_type).await?.object;
    let named = object::text(&eviction, "/metadata/name");
    let name = call.path.name.clone();
    if !named.is_empty() && named != name {
        return Err(ApiError::BadRequest(format!(
            "name in URL does not match name in Eviction object: {name:?} != {named:?}"
        )));
    }
    let options = eviction
        .get("deleteOptions")
        .cloned()
        .unwrap_or_else(|| json!({}));
    let mut options = DeleteOptions::parse(&options)?;
    options.dry_run |= call.dry_run()?;
    delete_object(&call, &name, &options).await?;
    Ok(encode::raw(
        &call.headers,
        negotiated.format,
        StatusCode::CREATED,
        &success(),
    ))
}
