//! GET of one object (and of its status, which is the same object).

use http::{Response, StatusCode};
use portcullis_resource::error::ApiError;

use crate::body::Body;
use crate::call::Call;
use crate::encode;

/// Always the present state: a named older version (`resourceVersion`) may be answered by a newer one.
pub(crate) async fn get(call: Call) -> Result<Response<Body>, ApiError> {
    let negotiated = encode::negotiate(&call.headers, &call.query, call.verb)?;
    let name = &call.path.name;
    let found = call.api.find(call.kind, call.namespace(), name).await?;
    let (object, _) = found.ok_or_else(|| call.not_found(name))?;
    Ok(encode::send(
        call.kind,
        &call.headers,
        &negotiated,
        StatusCode::OK,
        object,
    ))
}
