//! Pods of absent nodes: woken by pods and by nodes that come and go.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use portcullis_reconcile::{Plan, pod, podgc};

use crate::actor::Controller;
use crate::informer::{Change, Informer, Key};
use crate::queue::Queue;

pub(crate) struct PodGc {
    pods: Arc<Informer<Pod>>,
    nodes: Arc<Informer<Node>>,
    /// Node name → since when it is known to be absent.
    absent: Mutex<HashMap<String, Timestamp>>,
}

impl PodGc {
    pub fn new(
        pods: &Arc<Informer<Pod>>,
        nodes: &Arc<Informer<Node>>,
        queue: &Arc<Queue<Key>>,
    ) -> Self {
        let (wake, known) = (Arc::clone(queue), Arc::clone(nodes));
        pods.subscribe(move |change| {
            let Change::Applied { new, .. } = change else {
                return;
            };
            if pod::node_name(new).is_some_and(|node| known.find(&Key::new("", node)).is_none()) {
                wake.add(Key::of(&new.metadata));
            }
        });
        let (wake, known) = (Arc::clone(queue), Arc::clone(pods));
        nodes.subscribe(move |change| {
            let Change::Deleted(node) = change else {
                return;
            };
            for candidate in known.all() {
                if pod::node_name(&candidate) == node.metadata.name.as_deref() {
                    wake.add(Key::of(&candidate.metadata));
                }
            }
        });
        Self {
            pods: Arc::clone(pods),
            nodes: Arc::clone(nodes),
            absent: Mutex::default(),
        }
    }

    fn absent_since(&self, node: &str, now: Timestamp) -> Option<Timestamp> {
        let mut absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        if self.nodes.find(&Key::new("", node)).is_some() {
            absent.remove(node);
            return None;
        }
        Some(*absent.entry(node.to_owned()).or_insert(now))
    }
}

impl Controller for PodGc {
    type Key = Key;
    const NAME: &'static str = "pod-garbage-collector";

    async fn plan(&self, key: &Key, now: Timestamp) -> Result<Plan, kube::Error> {
        let Some(found) = self.pods.find(key) else {
            return Ok(Plan::default());
        };
        let node_absent_since =
            pod::node_name(&found).and_then(|node| self.absent_since(node, now));
        Ok(podgc::plan(
            &podgc::Observed {
                pod: &found,
                node_absent_since,
            },
            now,
        ))
    }
}
