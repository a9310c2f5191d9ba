//! `pods/log`: what a container wrote, fetched from the kubelet of its node.

use http::Response;
use portcullis_resource::error::ApiError;
use portcullis_resource::kind;
use serde_json::Value;

use crate::body::Body;
use crate::call::Call;
use crate::object::text;

pub(super) async fn answer(call: Call) -> Result<Response<Body>, ApiError> {
    let name = &call.path.name;
    let found = call.api.find(call.kind, call.namespace(), name).await?;
    let (pod, _) = found.ok_or_else(|| call.not_found(name))?;
    let container = container(&call, &pod)?;
    let node_name = text(&pod, "/spec/nodeName");
    if node_name.is_empty() {
        // Nothing has run yet, so nothing was written.
        return Ok(crate::encode::bytes(
            &call.headers,
            http::StatusCode::OK,
            "text/plain",
            bytes::Bytes::new(),
        ));
    }
    let nodes = kind::by_resource("", "v1", "nodes").expect("nodes have a row");
    let found = call.api.find(nodes, "", node_name).await?;
    let (node, _) = found.ok_or_else(|| ApiError::NotFound {
        resource: nodes.resource(),
        name: node_name.to_owned(),
    })?;
    let path = format!(
        "/containerLogs/{}/{name}/{container}?{}",
        call.namespace(),
        query(&call)
    );
    call.api
        .kubelets
        .fetch(&node, &path, call.query.is_true("follow"))
        .await
}

/// The container that was asked for, or the only one.
fn container(call: &Call, pod: &Value) -> Result<String, ApiError> {
    let names = |list: &str| -> Vec<String> {
        let containers = pod
            .pointer(&format!("/spec/{list}"))
            .and_then(Value::as_array);
        containers
            .into_iter()
            .flatten()
            .map(|c| text(c, "/name").to_owned())
            .collect()
    };
    let (main, init) = (names("containers"), names("initContainers"));
    let name = &call.path.name;
    let asked = call.query.first("container");
    if asked.is_empty() {
        let default = pod
            .pointer("/metadata/annotations/kubectl.kubernetes.io~1default-container")
            .and_then(Value::as_str);
        return match (default, main.as_slice()) {
            (Some(default), _) if main.iter().any(|m| m == default) => Ok(default.to_owned()),
            (_, [only]) => Ok(only.clone()),
            _ => Err(ApiError::BadRequest(format!(
                "a container name must be specified for pod {name}, choose one of: {main:?}"
            ))),
        };
    }
    if main.iter().chain(&init).any(|known| known == asked) {
        return Ok(asked.to_owned());
    }
    Err(ApiError::BadRequest(format!(
        "container {asked} is not valid for pod {name}"
    )))
}

/// The options that kubelets understand, and no others.
fn query(call: &Call) -> String {
    let pairs = LOG_OPTIONS.iter().filter_map(|option| {
        let value = call.query.first(option);
        let plain = value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-:.+".contains(c));
        (!value.is_empty() && plain).then(|| format!("{option}={}", value.replace('+', "%2B")))
    });
    pairs.collect::<Vec<_>>().join("&")
}

const LOG_OPTIONS: &[&str] = &[
    "follow",
    "previous",
    "sinceSeconds",
    "sinceTime",
    "tailLines",
    "limitBytes",
    "timestamps",
    "stream",
];
