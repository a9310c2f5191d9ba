//! Bodies: requests are read whole, responses are whole or streamed.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use portcullis_resource::error::ApiError;

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// The whole body of a request.
///
/// # Errors
/// 413 above [`MAX_BODY_BYTES`], 504 when it does not come in time, 400 when it breaks off.
pub(crate) async fn read(body: Incoming) -> Result<Bytes, ApiError> {
    let limited = Limited::new(body, MAX_BODY_BYTES);
    let collected = tokio::time::timeout(BODY_TIMEOUT, limited.collect())
        .await
        .map_err(|_| ApiError::Timeout {
            message: "the request body did not arrive in time".to_owned(),
        })?;
    match collected {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::RequestEntityTooLarge {
            limit_bytes: MAX_BODY_BYTES as u64,
        }),
        Err(error) => Err(ApiError::BadRequest(format!(
            "the request body broke off: {error}"
        ))),
    }
}

/// Bytes of a request's body. Upstream's: twice the largest object that is stored.
const MAX_BODY_BYTES: usize = 3 * 1024 * 1024;

/// For the whole body to arrive: shorter than the request's own time.
const BODY_TIMEOUT: Duration = Duration::from_secs(34);
