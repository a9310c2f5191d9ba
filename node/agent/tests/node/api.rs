//! A stand-in for the API: objects by path, list, watch, merge patch, delete. No validation, no versions but a counter.

use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::client::Body;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::sync::broadcast;

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

#[derive(Clone)]
pub struct Api {
    state: Arc<Mutex<State>>,
    events: broadcast::Sender<(String, Value)>,
}

#[derive(Default)]
struct State {
    /// By path, such as `/api/v1/namespaces/default/pods/web`.
    objects: BTreeMap<String, Value>,
    version: u64,
    tokens: u64,
}

impl Api {
    pub fn new() -> Self {
        Api {
            state: Arc::default(),
            events: broadcast::channel(1024).0,
        }
    }

    pub fn client(&self) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    pub fn get(&self, path: &str) -> Option<Value> {
        self.state.lock().unwrap().objects.get(path).cloned()
    }

    /// Every object whose path begins so.
    pub fn below(&self, prefix: &str) -> Vec<Value> {
        let state = self.state.lock().unwrap();
        let objects = state.objects.iter();
        objects
            .filter(|(path, _)| path.starts_with(prefix))
            .map(|(_, object)| object.clone())
            .collect()
    }

    pub fn put(&self, path: &str, mut object: Value) {
        let mut state = self.state.lock().unwrap();
        state.version += 1;
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        let kind = if state
            .objects
            .insert(path.to_owned(), object.clone())
            .is_some()
        {
            "MODIFIED"
        } else {
            "ADDED"
        };
        let _ = self
            .events
            .send((path.to_owned(), json!({"type": kind, "object": object})));
    }

    pub fn remove(&self, path: &str) {
        let mut state = self.state.lock().unwrap();
        if let Some(object) = state.objects.remove(path) {
            let _ = self.events.send((
                path.to_owned(),
                json!({"type": "DELETED", "object": object}),
            ));
        }
    }

    /// As `kubectl delete`: marks it, and leaves the end to the node.
    pub fn delete(&self, path: &str, grace: i64) {
        let mut object = self.get(path).unwrap();
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        object["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        self.put(path, object);
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let path = parts.uri.path().to_owned();
        let query = parts.uri.query().unwrap_or("");
        match parts.method {
            Method::GET if query.contains("watch=") => self.watch(&path),
            Method::GET => match self.get(&path) {
                Some(object) => reply(StatusCode::OK, &object),
                None if is_collection(&path) => self.list(&path),
                None => not_found(),
            },
            Method::POST if path.ends_with("/token") => {
                let mut state = self.state.lock().unwrap();
                state.tokens += 1;
                // The first is due for renewal at once.
                let expires = if state.tokens == 1 {
                    "2000-01-01T00:00:00Z"
                } else {
                    "2999-01-01T00:00:00Z"
                };
                let mut issued = body;
                issued["status"] = json!({"token": format!("token-{}", state.tokens), "expirationTimestamp": expires});
                reply(StatusCode::CREATED, &issued)
            }
            Method::POST => {
                let object = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap());
                self.put(&object, with_uid(body));
                reply(StatusCode::CREATED, &self.get(&object).unwrap())
            }
            Method::PUT => {
                self.put(&path, body);
                reply(StatusCode::OK, &self.get(&path).unwrap())
            }
            Method::PATCH => {
                let path = path.trim_end_matches("/status");
                let Some(mut object) = self.get(path) else {
                    return not_found();
                };
                merge(&mut object, &body);
                self.put(path, object);
                reply(StatusCode::OK, &self.get(path).unwrap())
            }
            Method::DELETE => {
                self.remove(&path);
                reply(
                    StatusCode::OK,
                    &json!({"kind": "Status", "apiVersion": "v1", "status": "Success", "metadata": {}}),
                )
            }
            _ => not_found(),
        }
    }

    fn list(&self, collection: &str) -> Answer {
        let state = self.state.lock().unwrap();
        let items: Vec<_> = state
            .objects
            .iter()
            .filter(|(path, _)| belongs(path, collection))
            .map(|(_, object)| object)
            .collect();
        reply(
            StatusCode::OK,
            &json!({"metadata": {"resourceVersion": state.version.to_string()}, "items": items}),
        )
    }

    fn watch(&self, collection: &str) -> Answer {
        let collection = collection.to_owned();
        let receiver = self.events.subscribe();
        let stream = futures::stream::unfold(receiver, |mut receiver| async {
            Some((receiver.recv().await, receiver))
        });
        let frames = stream.filter_map(move |event| {
            let (path, event) = event.unwrap();
            let line = belongs(&path, &collection)
                .then(|| Ok(Frame::data(Bytes::from(format!("{event}\n")))));
            async move { line }
        });
        Response::new(UnsyncBoxBody::new(StreamBody::new(frames)))
    }
}

/// Lists at the root of a group cover all namespaces.
fn belongs(path: &str, collection: &str) -> bool {
    let plural = collection.rsplit('/').next().unwrap();
    let mut segments = path.rsplit('/').skip(1);
    segments.next() == Some(plural)
}

fn is_collection(path: &str) -> bool {
    ["pods", "services", "endpointslices", "nodes"]
        .iter()
        .any(|plural| path.ends_with(plural))
}

fn with_uid(mut object: Value) -> Value {
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    object["metadata"]["uid"] = json!(format!("uid-of-{name}"));
    object
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        match value {
            Value::Null => drop(target.as_object_mut().unwrap().remove(key)),
            value => merge(&mut target[key], value),
        }
    }
}

fn not_found() -> Answer {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "message": "not found", "code": 404, "metadata": {}});
    reply(StatusCode::NOT_FOUND, &status)
}

fn reply(status: StatusCode, body: &Value) -> Answer {
    let mut answer = Response::new(UnsyncBoxBody::new(Full::new(Bytes::from(body.to_string()))));
    *answer.status_mut() = status;
    answer
}
