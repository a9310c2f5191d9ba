//! Discovery and OpenAPI documents, with ETags: clients keep them and ask whether they changed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use portcullis_resource::error::ApiError;
use portcullis_resource::request::{Query, Verb};
use portcullis_resource::{discovery, openapi};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::api::Api;
use crate::body::{Body, full};
use crate::encode;

/// `/api…` and `/apis…`.
pub(super) fn discovery(
    api: &Api,
    segments: &[&str],
    headers: &HeaderMap,
    query: &Query,
) -> Result<Response<Body>, ApiError> {
    let core = segments[0] == "api";
    if segments.len() == 1
        && let Some(version) = encode::discovery_version(headers)
    {
        let document = discovery::aggregated(core, version);
        // Clients tell the form by the content type, to the letter.
        let media = match version {
            "v2" => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            _ => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        };
        return Ok(tagged(headers, media, Bytes::from(document.to_string())));
    }
    let document = match *segments {
        ["api"] => Some(discovery::core_versions(&api.address)),
        ["apis"] => Some(discovery::groups()),
        ["apis", group] => discovery::group(group),
        ["api", version] => discovery::resources("", version),
        ["apis", group, version] => discovery::resources(group, version),
        _ => None,
    };
    let document = document.ok_or(ApiError::UnknownPath)?;
    let negotiated = encode::negotiate(headers, query, Verb::Get)?;
    Ok(encode::raw(
        headers,
        negotiated.format,
        StatusCode::OK,
        &document,
    ))
}

/// Documents as served, made at first use: kubectl asks for few of them.
#[derive(Default)]
pub(crate) struct OpenApiDocuments {
    made: Mutex<HashMap<String, Bytes>>,
}

impl OpenApiDocuments {
    fn get(&self, path: &str, make: impl FnOnce() -> Option<Value>) -> Option<Bytes> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = made.get(path) {
            return Some(bytes.clone());
        }
        let bytes = Bytes::from(make()?.to_string());
        made.insert(path.to_owned(), bytes.clone());
        Some(bytes)
    }
}

/// `/openapi/v3…`.
pub(super) fn openapi(
    api: &Api,
    rest: &[&str],
    headers: &HeaderMap,
) -> Result<Response<Body>, ApiError> {
    let document = match rest {
        [] => api.openapi.get("", || Some(openapi::index())),
        ["api", version] => api.openapi.get(version, || openapi::document(version)),
        ["apis", group, version] => {
            let name = format!("{group}/{version}");
            api.openapi.get(&name, || openapi::document(&name))
        }
        _ => None,
    };
    let document = document.ok_or(ApiError::UnknownPath)?;
    Ok(tagged(headers, "application/json", document))
}

/// `/openapi/v2`, with nothing in it: kubectl asks for it when a kind is in no v3 document, and then finds by itself that
/// there is no such kind. Without an answer it would complain about the missing document instead.
pub(super) fn openapi_v2(headers: &HeaderMap) -> Response<Body> {
    let media = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    tagged(headers, media, Bytes::from_static(b"\x0a\x032.0"))
}

/// A document that everybody may keep for a while, as upstream's discovery of the token issuer.
pub(super) fn for_an_hour(
    headers: &HeaderMap,
    media: &'static str,
    document: &Value,
) -> Response<Body> {
    let text = Bytes::from(document.to_string());
    let mut response = encode::bytes(headers, StatusCode::OK, media, text);
    let out = response.headers_mut();
    out.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=3600"),
    );
    response
}

fn tagged(headers: &HeaderMap, media: &'static str, document: Bytes) -> Response<Body> {
    let digest = Sha256::digest(&document);
    let tag: String = digest
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02X}"))
        .collect();
    let tag = format!("\"{tag}\"");
    let known = headers.get(IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    let mut response = if known == Some(tag.as_str()) {
        let mut unchanged = Response::new(full(Bytes::new()));
        *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
        unchanged
    } else {
        encode::bytes(headers, StatusCode::OK, media, document)
    };
    let out = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&tag) {
        out.insert(ETAG, value);
    }
    out.append(VARY, HeaderValue::from_static(ACCEPT.as_str()));
    response
}
