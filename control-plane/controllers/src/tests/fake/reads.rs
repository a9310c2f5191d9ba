//! List and watch.

use std::collections::BTreeMap;
use std::convert::Infallible;

use futures::stream;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Fake;
use super::address::Address;
use super::serve::{Answer, reply};
use super::state::{Place, Watcher};

impl Fake {
    pub(super) fn listing(&self, address: &Address, query: &BTreeMap<String, String>) -> Answer {
        let state = self.lock();
        let chosen = state
            .objects
            .iter()
            .filter(|(place, _)| address.covers(place) && selected(place, query));
        let items: Vec<&Value> = chosen.map(|(_, object)| object).collect();
        reply(
            StatusCode::OK,
            &json!({
                "kind": "List",
                "apiVersion": "v1",
                "metadata": {"resourceVersion": state.revision.to_string()},
                "items": items,
            }),
        )
    }

    pub(super) fn watch(&self, address: &Address, query: &BTreeMap<String, String>) -> Answer {
        let from: u64 = query
            .get("resourceVersion")
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        let (lines, inbox) = mpsc::unbounded_channel();
        let mut state = self.lock();
        for recorded in state
            .history
            .iter()
            .filter(|recorded| recorded.revision > from)
        {
            let place = Place {
                root: recorded.root.clone(),
                plural: recorded.plural.clone(),
                namespace: recorded.namespace.clone(),
                name: String::new(),
            };
            if address.covers(&place) {
                lines
                    .send(recorded.line.clone())
                    .expect("the receiver is held below");
            }
        }
        state.watchers.push(Watcher {
            root: address.root.clone(),
            plural: address.plural.clone(),
            namespace: address.namespace.clone(),
            lines,
        });
        let frames = stream::unfold(inbox, |mut inbox| async {
            let line = inbox.recv().await?;
            Some((Ok::<_, Infallible>(Frame::data(line)), inbox))
        });
        Response::new(BodyExt::boxed_unsync(StreamBody::new(frames)))
    }
}

pub(super) fn selected(place: &Place, query: &BTreeMap<String, String>) -> bool {
    let wanted = query
        .get("fieldSelector")
        .and_then(|text| text.strip_prefix("metadata.name=").map(str::to_owned));
    wanted.is_none_or(|name| name == place.name)
}
