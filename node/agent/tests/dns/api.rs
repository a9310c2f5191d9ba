//! A stand-in for the API that is only read: lists when it is let to, and watches from the version asked for.

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response, Uri};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::client::Body;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::watch;

#[derive(Clone)]
pub struct Api {
    state: Arc<watch::Sender<State>>,
}

#[derive(Default)]
struct State {
    answers: bool,
    /// By collection and `namespace/name`.
    objects: BTreeMap<(String, String), Value>,
    /// With their collections; the place in the list is the version.
    events: Vec<(String, Value)>,
}

impl Api {
    /// Says nothing before [`Api::open`].
    pub fn new() -> Self {
        Api {
            state: Arc::new(watch::Sender::new(State::default())),
        }
    }

    pub fn open(&self) {
        self.state.send_modify(|state| state.answers = true);
    }

    pub fn put(&self, collection: &str, object: Value) {
        self.change(collection, "MODIFIED", object);
    }

    pub fn delete(&self, collection: &str, object: Value) {
        self.change(collection, "DELETED", object);
    }

    pub fn client(&self) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request.uri().clone()).await) }
        });
        kube::Client::new(service, "default")
    }

    fn change(&self, collection: &str, kind: &str, mut object: Value) {
        self.state.send_modify(|state| {
            let version = state.events.len() + 1;
            object["metadata"]["resourceVersion"] = json!(version.to_string());
            let metadata = &object["metadata"];
            let key = format!("{}/{}", metadata["namespace"], metadata["name"]);
            let key = (collection.to_owned(), key);
            match kind {
                "DELETED" => drop(state.objects.remove(&key)),
                _ => drop(state.objects.insert(key, object.clone())),
            }
            let event = json!({"type": kind, "object": object});
            state.events.push((collection.to_owned(), event));
        });
    }

    async fn answer(&self, uri: Uri) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
        let collection = uri.path().rsplit('/').next().unwrap().to_owned();
        let query = uri.query().unwrap_or("");
        let mut seen = self.state.subscribe();
        seen.wait_for(|state| state.answers).await.unwrap();
        if !query.contains("watch=") {
            let state = seen.borrow();
            let objects = state.objects.iter().filter(|(key, _)| key.0 == collection);
            let items: Vec<_> = objects.map(|(_, object)| object).collect();
            let version = state.events.len().to_string();
            let list = json!({"metadata": {"resourceVersion": version}, "items": items});
            let body = Full::new(Bytes::from(list.to_string()));
            return Response::new(body.boxed_unsync());
        }
        let from = query
            .split('&')
            .find_map(|word| word.strip_prefix("resourceVersion="));
        let from: usize = from.unwrap_or("0").parse().unwrap();
        let events = futures::stream::unfold((seen, from), |(mut seen, next)| async move {
            let state = seen
                .wait_for(|state| state.events.len() > next)
                .await
                .ok()?;
            let event = state.events[next].clone();
            drop(state);
            Some((event, (seen, next + 1)))
        });
        let lines = events.filter_map(move |(of, event)| {
            let line = (of == collection).then(|| Ok(Frame::data(format!("{event}\n").into())));
            async move { line }
        });
        Response::new(UnsyncBoxBody::new(StreamBody::new(lines)))
    }
}
