//! Responses.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, VARY, WARNING,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use jiff::Timestamp;
use portcullis_resource::error::ApiError;
use portcullis_resource::kind::KindSpec;
use portcullis_resource::table::{Render, partial_metadata, partial_metadata_list};
use serde_json::{Value, json};

use super::{Format, Negotiated, Shape};
use crate::body::{Body, full};
use crate::object;

/// One object of a kind, in the form that was negotiated.
pub(crate) fn send(
    kind: &KindSpec,
    headers: &HeaderMap,
    negotiated: &Negotiated,
    code: StatusCode,
    object: Value,
) -> Response<Body> {
    let shown = match &negotiated.shape {
        Shape::Object => object,
        Shape::Partial(version) => partial_metadata(&object, version),
        Shape::Table(version, include) => {
            let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
            let render = Render {
                kind,
                version,
                include: *include,
                now: Timestamp::now(),
                with_columns: true,
            };
            render.table(metadata, &[object::stored_as(kind, object)])
        }
    };
    raw(headers, negotiated.format, code, &shown)
}

/// A list of a kind.
pub(crate) fn send_list(
    kind: &KindSpec,
    headers: &HeaderMap,
    negotiated: &Negotiated,
    metadata: Value,
    items: Vec<Value>,
) -> Response<Body> {
    let shown = match &negotiated.shape {
        Shape::Object => object_list(kind, metadata, items),
        Shape::Partial(version) => partial_metadata_list(metadata, &items, version),
        Shape::Table(version, include) => {
            let render = Render {
                kind,
                version,
                include: *include,
                now: Timestamp::now(),
                with_columns: true,
            };
            let stored: Vec<Value> = items
                .into_iter()
                .map(|item| object::stored_as(kind, item))
                .collect();
            render.table(metadata, &stored)
        }
    };
    raw(headers, negotiated.format, StatusCode::OK, &shown)
}

/// Items of typed lists carry no kind of their own: the list's says it.
fn object_list(kind: &KindSpec, metadata: Value, mut items: Vec<Value>) -> Value {
    for item in &mut items {
        if let Value::Object(fields) = item {
            fields.remove("kind");
            fields.remove("apiVersion");
        }
    }
    json!({
        "kind": kind.list_kind(),
        "apiVersion": kind.api_version(),
        "metadata": metadata,
        "items": items,
    })
}

/// Any tree as it is.
pub(crate) fn raw(
    headers: &HeaderMap,
    format: Format,
    code: StatusCode,
    value: &Value,
) -> Response<Body> {
    let (media, text) = match format {
        Format::Json { pretty: false } => ("application/json", value.to_string()),
        Format::Json { pretty: true } => ("application/json", format!("{value:#}\n")),
        Format::Yaml => match serde_saphyr::to_string(value) {
            Ok(text) => ("application/yaml", text),
            Err(error) => return self::error(headers, &ApiError::Internal(error.to_string())),
        },
    };
    bytes(headers, code, media, Bytes::from(text))
}

/// A failure, as a Status.
pub(crate) fn error(headers: &HeaderMap, error: &ApiError) -> Response<Body> {
    let code = StatusCode::from_u16(error.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let text = Bytes::from(error.status().to_string());
    let mut response = bytes(headers, code, "application/json", text);
    if let Some(seconds) = error.retry_after_s() {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A whole body, compressed where that pays (KEP-2338) and the client takes it.
pub(crate) fn bytes(
    headers: &HeaderMap,
    code: StatusCode,
    media: &'static str,
    body: Bytes,
) -> Response<Body> {
    let compress = body.len() >= GZIP_FROM_BYTES && accepts_gzip(headers);
    let compressed = if compress { gzip(&body) } else { None };
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = code;
    let out = response.headers_mut();
    out.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    out.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    if compressed.is_some() {
        out.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        out.insert(VARY, HeaderValue::from_static("accept-encoding"));
    }
    *response.body_mut() = full(compressed.unwrap_or(body));
    response
}

/// Adds `Warning: 299` headers (RFC 9111 appendix B, KEP-1693), which kubectl prints.
pub(crate) fn with_warnings(mut response: Response<Body>, warnings: &[String]) -> Response<Body> {
    let mut budget = WARNING_BUDGET_BYTES;
    for warning in warnings {
        let text: String = warning.chars().filter(|c| !c.is_control()).collect();
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        let Some(left) = budget.checked_sub(quoted.len()) else {
            break;
        };
        budget = left;
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            response.headers_mut().append(WARNING, value);
        }
    }
    response
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let value = headers
        .get(ACCEPT_ENCODING)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    value
        .split(',')
        .any(|coding| coding.trim().split(';').next() == Some("gzip"))
}

fn gzip(body: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

/// Below this, compressing costs more than sending.
const GZIP_FROM_BYTES: usize = 128 * 1024;

/// Of all warnings together; upstream truncates at this, too, so that headers stay small.
const WARNING_BUDGET_BYTES: usize = 4 * 1024;
