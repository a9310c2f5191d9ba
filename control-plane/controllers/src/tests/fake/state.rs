//! What is stored, and who watches it.

use std::collections::BTreeMap;

use hyper::body::Bytes;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Where an object lives: group/version, plural, namespace, name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) root: String,
    pub(super) plural: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

pub(super) struct Watcher {
    pub(super) root: String,
    pub(super) plural: String,
    pub(super) namespace: Option<String>,
    pub(super) lines: mpsc::UnboundedSender<Bytes>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) revision: u64,
    pub(super) objects: BTreeMap<Place, Value>,
    pub(super) history: Vec<Recorded>,
    pub(super) watchers: Vec<Watcher>,
    /// Plurals whose creation is refused, with the message.
    pub(super) refused: BTreeMap<String, String>,
    /// Every request but reads, as `METHOD path`.
    pub(super) writes: Vec<String>,
}

pub(super) struct Recorded {
    pub(super) revision: u64,
    pub(super) root: String,
    pub(super) plural: String,
    pub(super) namespace: String,
    pub(super) line: Bytes,
}
impl State {
    pub(super) fn find(&self, plural: &str, namespace: &str, name: &str) -> Option<Place> {
        let fits = |place: &&Place| {
            place.plural == plural && place.namespace == namespace && place.name == name
        };
        self.objects.keys().find(fits).cloned()
    }

    pub(super) fn store(&mut self, place: Place, mut object: Value, event: &str) -> Value {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        self.objects.insert(place.clone(), object.clone());
        self.publish(&place, event, &object);
        object
    }

    pub(super) fn delete(&mut self, place: Place, options: &Value) {
        let mut object = self.objects[&place].clone();
        let finalizers = object["metadata"]["finalizers"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let mut finalizers: Vec<Value> = finalizers;
        match options["propagationPolicy"].as_str() {
            Some("Foreground") => finalizers.push(json!("foregroundDeletion")),
            Some("Orphan") => finalizers.push(json!("orphan")),
            _ => {}
        }
        let held = place.plural == "namespaces" || !finalizers.is_empty();
        let running = place.plural == "pods"
            && !object["spec"]["nodeName"].is_null()
            && options["gracePeriodSeconds"].as_i64() != Some(0);
        if !held && !running {
            self.remove(&place);
        } else if object["metadata"]["deletionTimestamp"].is_null() {
            object["metadata"]["deletionTimestamp"] = json!(stamp());
            object["metadata"]["finalizers"] = json!(finalizers);
            if place.plural == "namespaces" {
                object["spec"]["finalizers"] = json!(["kubernetes"]);
            }
            self.store(place, object, "MODIFIED");
        }
    }

    pub(super) fn remove(&mut self, place: &Place) {
        let Some(mut object) = self.objects.remove(place) else {
            return;
        };
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        self.publish(place, "DELETED", &object);
    }

    pub(super) fn publish(&mut self, place: &Place, event: &str, object: &Value) {
        let line = Bytes::from(format!("{}\n", json!({"type": event, "object": object})));
        self.history.push(Recorded {
            revision: self.revision,
            root: place.root.clone(),
            plural: place.plural.clone(),
            namespace: place.namespace.clone(),
            line: line.clone(),
        });
        self.watchers.retain(|watcher| {
            let concerned = watcher.root == place.root
                && watcher.plural == place.plural
                && watcher
                    .namespace
                    .as_ref()
                    .is_none_or(|namespace| *namespace == place.namespace);
            !concerned || watcher.lines.send(line.clone()).is_ok()
        });
    }
}

pub(super) fn stamp() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
