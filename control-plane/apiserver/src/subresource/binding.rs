//! `pods/binding`: the scheduler's decision.

use http::{Response, StatusCode};
use portcullis_resource::error::ApiError;
use portcullis_resource::kind::BINDING;
use portcullis_resource::prepare;

use super::success;
use crate::body::Body;
use crate::call::Call;
use crate::encode;
use crate::write::{Change, change};

pub(super) async fn answer(mut call: Call) -> Result<Response<Body>, ApiError> {
    let negotiated = encode::negotiate(&call.headers, &call.query, call.verb)?;
    let binding = call.decode(BINDING.root_type).await?.object;
    let name = call.path.name.clone();
    change(&call, &name, |pod| {
        prepare::bind(pod, &binding, &call.context(&name)).map(Change::from)
    })
    .await?;
    Ok(encode::raw(
        &call.headers,
        negotiated.format,
        StatusCode::CREATED,
        &success(),
    ))
}
