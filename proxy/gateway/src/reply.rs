//! Failures become responses here and nowhere else, as nginx maps them.

use std::{error::Error, io};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::{body::Body, client::head::HeadError};

/// Why a request was not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("bad request: {0}")]
    Head(#[from] HeadError),
    #[error("bad request: {0}")]
    Path(#[from] portcullis_route::path::PathError),
    #[error("no route")]
    NoRoute,
    #[error("denied with {0}")]
    Denied(u16),
    #[error("over the limit")]
    Limited(u16),
    #[error("request body too large")]
    BodyTooLarge,
    #[error("request body timed out")]
    BodyTimedOut,
    #[error("request body broke off")]
    BodyBroken,
    #[error("no endpoint")]
    NoEndpoint,
    #[error("as many upstream connections as there may be")]
    TooManyUpstreams,
    #[error("upstream failed")]
    Upstream,
    #[error("upstream timed out")]
    UpstreamTimeout,
}

impl Failure {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Head(HeadError::Connect) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Head(HeadError::TooLarge) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Head(_) | Self::Path(_) | Self::BodyBroken => StatusCode::BAD_REQUEST,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Denied(status) | Self::Limited(status) => {
                StatusCode::from_u16(*status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
            }
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::NoEndpoint | Self::TooManyUpstreams => StatusCode::SERVICE_UNAVAILABLE,
            Self::Upstream => StatusCode::BAD_GATEWAY,
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The connection is not worth keeping: what the client meant next is not certain.
    fn closes(&self) -> bool {
        matches!(
            self,
            Self::Head(_) | Self::BodyTooLarge | Self::BodyTimedOut | Self::BodyBroken
        )
    }

    pub fn into_response(self) -> Response<Body> {
        let mut response = match self {
            Self::NoRoute => default_backend(),
            _ => error_page(self.status()),
        };
        if self.closes() {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        response
    }
}

/// What ingress-nginx's built-in default backend answers.
fn default_backend() -> Response<Body> {
    let mut response = Response::new(Body::full(Bytes::from_static(b"default backend - 404")));
    *response.status_mut() = StatusCode::NOT_FOUND;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// A page of our own in the shape of nginx's.
pub(crate) fn error_page(status: StatusCode) -> Response<Body> {
    let reason = status.canonical_reason().unwrap_or("Error");
    let code = status.as_u16();
    let page = format!(
        "<html>\r\n<head><title>{code} {reason}</title></head>\r\n<body>\r\n\
         <center><h1>{code} {reason}</h1></center>\r\n<hr><center>portcullis</center>\r\n\
         </body>\r\n</html>\r\n"
    );
    let mut response = Response::new(Body::full(page.into()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/html");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// True when a socket of ours ran into its deadline.
pub(crate) fn is_timeout(error: &hyper::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::TimedOut;
        }
        source = error.source();
    }
    false
}
