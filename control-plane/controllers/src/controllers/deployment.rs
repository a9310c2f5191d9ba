//! Deployments: woken by themselves, their ReplicaSets, and (Recreate) the end of their pods.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use portcullis_reconcile::expectations::Written;
use portcullis_reconcile::{Action, Object, Plan, deployment, owner, selector};

use super::controller_key;
use crate::actor::Controller;
use crate::clock;
use crate::execute::{ActionError, Done};
use crate::informer::{Change, Informer, Key};
use crate::queue::Queue;

pub(crate) struct Deployments {
    deployments: Arc<Informer<Deployment>>,
    replica_sets: Arc<Informer<ReplicaSet>>,
    pods: Arc<Informer<Pod>>,
    written: Arc<Mutex<HashMap<Key, Written>>>,
}

impl Deployments {
    pub fn new(
        deployments: &Arc<Informer<Deployment>>,
        replica_sets: &Arc<Informer<ReplicaSet>>,
        pods: &Arc<Informer<Pod>>,
        queue: &Arc<Queue<Key>>,
    ) -> Self {
        let written: Arc<Mutex<HashMap<Key, Written>>> = Arc::default();
        let (wake, forget) = (Arc::clone(queue), Arc::clone(&written));
        deployments.subscribe(move |change| {
            let key = Key::of(&change.object().metadata);
            if matches!(change, Change::Deleted(_)) {
                lock(&forget).remove(&key);
            }
            wake.add(key);
        });
        let (wake, known) = (Arc::clone(queue), Arc::clone(deployments));
        replica_sets.subscribe(move |change| {
            for set in change.versions() {
                match controller_key(&set.metadata, "Deployment") {
                    Some(key) => wake.add(key),
                    None => adopters(&known, set)
                        .into_iter()
                        .for_each(|key| wake.add(key)),
                }
            }
        });
        let (wake, sets) = (Arc::clone(queue), Arc::clone(replica_sets));
        pods.subscribe(move |change| {
            let Change::Deleted(pod) = change else { return };
            let set = controller_key(&pod.metadata, "ReplicaSet").and_then(|key| sets.find(&key));
            if let Some(key) = set.and_then(|set| controller_key(&set.metadata, "Deployment")) {
                wake.add(key);
            }
        });
        Self {
            deployments: Arc::clone(deployments),
            replica_sets: Arc::clone(replica_sets),
            pods: Arc::clone(pods),
            written,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Deployments that would take an orphan.
fn adopters(deployments: &Informer<Deployment>, set: &ReplicaSet) -> Vec<Key> {
    if owner::controller(&set.metadata).is_some() {
        return Vec::new();
    }
    let candidates =
        deployments.in_namespace(set.metadata.namespace.as_deref().unwrap_or_default());
    let fits = |deployment: &&Arc<Deployment>| {
        selector::matches(&deployment.spec.selector, set.metadata.labels.as_ref())
    };
    candidates
        .iter()
        .filter(fits)
        .map(|deployment| Key::of(&deployment.metadata))
        .collect()
}

impl Controller for Deployments {
    type Key = Key;
    const NAME: &'static str = "deployment-controller";

    async fn plan(&self, key: &Key, now: Timestamp) -> Result<Plan, kube::Error> {
        let Some(found) = self.deployments.find(key) else {
            return Ok(Plan::default());
        };
        let written = lock(&self.written).get(key).cloned().unwrap_or_default();
        let observed = deployment::Observed {
            deployment: &found,
            replica_sets: &self.replica_sets.in_namespace(&key.namespace),
            pods: &self.pods.in_namespace(&key.namespace),
            written: &written,
        };
        Ok(deployment::plan(&observed, now))
    }

    fn settled(&self, key: &Key, action: &Action, outcome: &Result<Done, ActionError>) {
        let Ok(Done {
            name: Some(name),
            resource_version: Some(version),
        }) = outcome
        else {
            return;
        };
        let concerns_a_set = match action {
            Action::Create(Object::ReplicaSet(_)) => true,
            Action::Patch { target, .. } => target.resource.kind == "ReplicaSet",
            _ => false,
        };
        if concerns_a_set {
            lock(&self.written)
                .entry(key.clone())
                .or_default()
                .note(name, version, clock::now());
        }
    }
}
