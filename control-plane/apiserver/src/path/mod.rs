//! Everything that is no resource: discovery, OpenAPI, health, version, metrics.

mod documents;
mod health;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use portcullis_resource::error::ApiError;
use portcullis_resource::request::Query;
use serde_json::json;

use crate::api::Api;
use crate::body::Body;
use crate::encode::{self, Format};

pub(crate) use documents::OpenApiDocuments;

pub(crate) async fn answer(
    api: &Arc<Api>,
    path: &str,
    headers: &HeaderMap,
    query: &Query,
) -> Result<Response<Body>, ApiError> {
    let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    match segments.as_slice() {
        [check @ ("healthz" | "livez" | "readyz"), rest @ ..] => {
            health::answer(api, check, rest, headers, query).await
        }
        ["version"] => Ok(encode::raw(
            headers,
            Format::Json { pretty: true },
            StatusCode::OK,
            &version(),
        )),
        ["metrics"] => Ok(encode::bytes(
            headers,
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            Bytes::from(api.metrics.text()),
        )),
        ["api" | "apis", ..] => documents::discovery(api, &segments, headers, query),
        ["openapi", "v2"] => Ok(documents::openapi_v2(headers)),
        ["openapi", "v3", rest @ ..] => documents::openapi(api, rest, headers),
        [".well-known", "openid-configuration"] => {
            let document = api.tokens.configuration(&api.address);
            Ok(documents::for_an_hour(
                headers,
                "application/json",
                &document,
            ))
        }
        ["openid", "v1", "jwks"] => {
            let keys = api.tokens.key_set();
            Ok(documents::for_an_hour(
                headers,
                "application/jwk-set+json",
                &keys,
            ))
        }
        [] => Ok(encode::raw(
            headers,
            Format::Json { pretty: true },
            StatusCode::OK,
            &json!({"paths": PATHS}),
        )),
        _ => Err(ApiError::UnknownPath),
    }
}

/// What the root lists.
const PATHS: &[&str] = &[
    "/.well-known/openid-configuration",
    "/api",
    "/apis",
    "/healthz",
    "/livez",
    "/metrics",
    "/openapi/v3",
    "/openid/v1/jwks",
    "/readyz",
    "/version",
];

/// Names become path segments of keys and URLs.
pub(crate) fn is_bad_name(name: &str) -> bool {
    name.is_empty() || name == "." || name == ".." || name.contains(['/', '%', '\0'])
}

/// `/version`: clients want digits in `minor`, Helm wants semver in `gitVersion`.
fn version() -> serde_json::Value {
    json!({
        "major": "1",
        "minor": "37",
        "emulationMajor": "1",
        "emulationMinor": "37",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "36",
        "gitVersion": "v1.37.0+portcullis",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, go_architecture()),
    })
}

fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
