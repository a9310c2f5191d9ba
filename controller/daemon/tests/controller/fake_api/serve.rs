//! The HTTP side: paths and verbs.

use std::{convert::Infallible, sync::Arc};

use futures::{StreamExt, stream};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::store::{Entry, Path, Store};

type Body = UnsyncBoxBody<Bytes, Infallible>;

pub async fn accept(listener: TcpListener, store: Arc<Store>) {
    while let Ok((connection, _)) = listener.accept().await {
        let store = store.clone();
        let service = hyper::service::service_fn(move |request| {
            let store = store.clone();
            async move { Ok::<_, Infallible>(answer(request, store).await) }
        });
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(connection), service),
        );
    }
}

/// `/api/v1/...` or `/apis/group/version/...`, then `namespaces/NAMESPACE`, then `resource[/name[/subresource]]`.
struct Target {
    resource: String,
    namespace: Option<String>,
    name: Option<String>,
    subresource: Option<String>,
    api_version: String,
}

impl Target {
    fn parse(path: &str) -> Option<Self> {
        let mut parts = path.trim_matches('/').split('/');
        let api_version = match parts.next()? {
            "api" => parts.next()?.to_owned(),
            "apis" => format!("{}/{}", parts.next()?, parts.next()?),
            _ => return None,
        };
        let mut rest: Vec<&str> = parts.collect();
        let mut namespace = None;
        if rest.len() > 2 && rest[0] == "namespaces" {
            namespace = Some(rest[1].to_owned());
            rest.drain(..2);
        }
        Some(Self {
            resource: (*rest.first()?).to_owned(),
            namespace,
            name: rest.get(1).map(|part| (*part).to_owned()),
            subresource: rest.get(2).map(|part| (*part).to_owned()),
            api_version,
        })
    }

    fn path(&self, name: &str) -> Path {
        Path::new(
            &self.resource,
            self.namespace.as_deref().unwrap_or_default(),
            name,
        )
    }
}

async fn answer(request: Request<Incoming>, store: Arc<Store>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let Some(target) = Target::parse(head.uri.path()) else {
        return status(404);
    };
    if store.is_forbidden(&target.resource) {
        return status(403);
    }
    let query = head.uri.query().unwrap_or_default().to_owned();
    let body = body.collect().await.map(|body| body.to_bytes());
    let body: Value = match body {
        Ok(bytes) if !bytes.is_empty() => serde_json::from_slice(&bytes).unwrap_or_default(),
        _ => Value::Null,
    };
    let name = target.name.clone();
    match (head.method, name) {
        (Method::GET, None) if query.contains("watch=true") => watch(&target, &query, store),
        (Method::GET, None) => {
            store.held(&target.resource).await;
            list(&target, &query, &store)
        }
        (Method::GET, Some(name)) => {
            store.held(&target.resource).await;
            found(store.get(&target.path(&name)))
        }
        (Method::POST, None) => {
            let name = body["metadata"]["name"].as_str().unwrap_or_default();
            let path = target.path(name);
            match store.get(&path) {
                Some(_) => status(409),
                None => found(Some(store.put(path, body, false))),
            }
        }
        (Method::PUT, Some(name)) => replace(&target, &name, body, &store),
        (Method::PATCH, Some(name)) => {
            let path = target.path(&name);
            let Some(mut object) = store.get(&path) else {
                return status(404);
            };
            merge(&mut object, body);
            found(Some(store.put(path, object, false)))
        }
        (Method::DELETE, Some(name)) => found(store.delete(&target.path(&name))),
        _ => status(405),
    }
}

fn replace(target: &Target, name: &str, body: Value, store: &Store) -> Response<Body> {
    let path = target.path(name);
    let Some(old) = store.get(&path) else {
        return status(404);
    };
    let mut object = body;
    if target.subresource.as_deref() == Some("status") {
        let version = object["metadata"]["resourceVersion"].clone();
        let new = object["status"].clone();
        object = old;
        object["status"] = new;
        object["metadata"]["resourceVersion"] = version;
    }
    match store.put_expecting(path, object) {
        Some(object) => found(Some(object)),
        None => status(409),
    }
}

/// Of field selectors, the one that names an object.
fn selected_name(query: &str) -> Option<String> {
    let selector = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("fieldSelector="))?;
    let selector = selector.replace("%3D", "=");
    Some(selector.strip_prefix("metadata.name=")?.to_owned())
}

fn list(target: &Target, query: &str, store: &Store) -> Response<Body> {
    let version = store.version().to_string();
    let name = selected_name(query);
    let mut items = store.list(&target.resource, target.namespace.as_deref());
    items.retain(|item| {
        let found = item["metadata"]["name"].as_str();
        name.is_none() || found == name.as_deref()
    });
    json_body(
        StatusCode::OK,
        &json!({
            "apiVersion": target.api_version, "kind": "List",
            "metadata": {"resourceVersion": version},
            "items": items,
        }),
    )
}

fn watch(target: &Target, query: &str, store: Arc<Store>) -> Response<Body> {
    let version = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("resourceVersion="))
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let resource = target.resource.clone();
    let namespace = target.namespace.clone();
    let name = selected_name(query);
    let wanted = move |entry: &Entry| {
        entry.path.resource == resource
            && namespace
                .as_ref()
                .is_none_or(|name| entry.path.namespace == *name)
            && name.as_ref().is_none_or(|name| entry.path.name == *name)
    };
    let changes = stream::unfold((store, version), |(store, version)| async move {
        let mut length = store.length();
        length.wait_for(|length| *length > version).await.ok()?;
        let entries = store.since(version);
        let next = version + entries.len();
        Some((stream::iter(entries), (store, next)))
    });
    let lines = changes.flatten().filter_map(move |entry| {
        let line = wanted(&entry).then(|| {
            let line = json!({"type": entry.kind, "object": entry.object});
            Ok(Frame::data(Bytes::from(format!("{line}\n"))))
        });
        std::future::ready(line)
    });
    Response::new(StreamBody::new(Box::pin(lines)).boxed_unsync())
}

fn found(object: Option<Value>) -> Response<Body> {
    match object {
        Some(object) => json_body(StatusCode::OK, &object),
        None => status(404),
    }
}

fn status(code: u16) -> Response<Body> {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        _ => "BadRequest",
    };
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "metadata": {},
        "message": reason, "reason": reason, "code": code,
    });
    json_body(StatusCode::from_u16(code).expect("a status"), &body)
}

fn json_body(status: StatusCode, value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string())).boxed_unsync();
    let response = Response::builder()
        .status(status)
        .header("content-type", "application/json");
    response.body(body).expect("a response")
}

/// RFC 7396.
fn merge(into: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *into = patch;
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (name, value) in patch {
        match value {
            Value::Null => {
                into.as_object_mut().and_then(|object| object.remove(&name));
            }
            value => merge(&mut into[name.as_str()], value),
        }
    }
}
