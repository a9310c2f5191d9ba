//! `/healthz`, `/livez`, `/readyz`, with `?verbose`, `?exclude=` and single checks below them.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use portcullis_resource::error::ApiError;
use portcullis_resource::request::Query;

use crate::api::Api;
use crate::body::Body;
use crate::encode;

struct Check {
    name: &'static str,
    passed: bool,
}

pub(super) async fn answer(
    api: &Api,
    endpoint: &str,
    single: &[&str],
    headers: &HeaderMap,
    query: &Query,
) -> Result<Response<Body>, ApiError> {
    let mut checks = checks(api, endpoint).await;
    if let [name] = single {
        checks.retain(|check| check.name == *name);
        if checks.is_empty() {
            return Err(ApiError::UnknownPath);
        }
    }
    let excluded: Vec<&str> = query.all("exclude").collect();
    let failed = checks
        .iter()
        .any(|c| !c.passed && !excluded.contains(&c.name));
    let code = if failed {
        StatusCode::INTERNAL_SERVER_ERROR
    } else {
        StatusCode::OK
    };
    let text = if failed || query.flag("verbose").is_some() {
        report(endpoint, &checks, &excluded, failed)
    } else {
        "ok".to_owned()
    };
    Ok(encode::bytes(
        headers,
        code,
        "text/plain; charset=utf-8",
        Bytes::from(text),
    ))
}

async fn checks(api: &Api, endpoint: &str) -> Vec<Check> {
    let mut checks = vec![
        Check {
            name: "ping",
            passed: true,
        },
        Check {
            name: "etcd",
            passed: api.store.healthy() && api.store.get("/registry/health", None).await.is_ok(),
        },
    ];
    if endpoint == "readyz" {
        checks.push(Check {
            name: "shutdown",
            passed: !api.drain.has_begun(),
        });
    }
    checks
}

fn report(endpoint: &str, checks: &[Check], excluded: &[&str], failed: bool) -> String {
    let mut text = String::new();
    for check in checks {
        let line = match check.passed {
            _ if excluded.contains(&check.name) => format!("[+]{} excluded: ok\n", check.name),
            true => format!("[+]{} ok\n", check.name),
            false => format!("[-]{} failed: reason withheld\n", check.name),
        };
        text.push_str(&line);
    }
    let verdict = if failed { "failed" } else { "passed" };
    text.push_str(&format!("{endpoint} check {verdict}\n"));
    text
}
