//! Node lifecycle: woken by nodes and their Leases, and by a timer when neither is heard of.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use portcullis_reconcile::{Plan, node, pod};

use crate::actor::Controller;
use crate::clock;
use crate::informer::{Change, Informer, Key};
use crate::queue::Queue;

/// When each node was last heard of, by our clock: the node's own may be wrong.
type Heard = Mutex<HashMap<String, Timestamp>>;

const LEASE_NAMESPACE: &str = "kube-node-lease";

pub(crate) struct Nodes {
    nodes: Arc<Informer<Node>>,
    pods: Arc<Informer<Pod>>,
    heard: Arc<Heard>,
}

fn lock(heard: &Heard) -> MutexGuard<'_, HashMap<String, Timestamp>> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Nodes {
    pub fn new(
        nodes: &Arc<Informer<Node>>,
        leases: &Arc<Informer<Lease>>,
        pods: &Arc<Informer<Pod>>,
        queue: &Arc<Queue<Key>>,
    ) -> Self {
        let heard: Arc<Heard> = Arc::default();
        let (wake, ears) = (Arc::clone(queue), Arc::clone(&heard));
        nodes.subscribe(move |change| {
            let name = change.object().metadata.name.clone().unwrap_or_default();
            match change {
                Change::Deleted(_) => drop(lock(&ears).remove(&name)),
                Change::Applied {
                    old: Some(old),
                    new,
                } if heartbeat(old) == heartbeat(new) => {}
                Change::Applied { .. } => drop(lock(&ears).insert(name.clone(), clock::now())),
            }
            wake.add(Key::new("", name));
        });
        let (wake, ears) = (Arc::clone(queue), Arc::clone(&heard));
        leases.subscribe(move |change| {
            let Change::Applied { old, new } = change else {
                return;
            };
            if new.metadata.namespace.as_deref() != Some(LEASE_NAMESPACE) {
                return;
            }
            if old
                .as_ref()
                .is_none_or(|old| renewed_at(old) != renewed_at(new))
            {
                let name = new.metadata.name.clone().unwrap_or_default();
                lock(&ears).insert(name.clone(), clock::now());
                wake.add(Key::new("", name));
            }
        });
        Self {
            nodes: Arc::clone(nodes),
            pods: Arc::clone(pods),
            heard,
        }
    }
}

fn heartbeat(node: &Node) -> Option<Timestamp> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions
        .iter()
        .find(|condition| condition.type_ == "Ready")?;
    ready.last_heartbeat_time.as_ref().map(|time| time.0)
}

fn renewed_at(lease: &Lease) -> Option<Timestamp> {
    lease.spec.as_ref()?.renew_time.as_ref().map(|time| time.0)
}

impl Controller for Nodes {
    type Key = Key;
    const NAME: &'static str = "node-controller";

    async fn plan(&self, key: &Key, now: Timestamp) -> Result<Plan, kube::Error> {
        let Some(found) = self.nodes.find(key) else {
            return Ok(Plan::default());
        };
        let heard_at = *lock(&self.heard).entry(key.name.clone()).or_insert(now);
        let mut pods = self.pods.all();
        pods.retain(|candidate| pod::node_name(candidate) == Some(&key.name));
        Ok(node::plan(
            &node::Observed {
                node: &found,
                heard_at,
                pods: &pods,
            },
            now,
        ))
    }
}
