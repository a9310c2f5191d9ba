//! ReplicaSets: woken by themselves and their pods; expectations keep a late cache from doubling a batch.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use portcullis_reconcile::expectations::Expectations;
use portcullis_reconcile::replicaset::{self, Failure, Stage};
use portcullis_reconcile::{Action, Note, Object, Plan, Resource, Target, owner, selector};

use super::controller_key;
use crate::actor::Controller;
use crate::execute::{ActionError, Done};
use crate::informer::{Change, Informer, Key};
use crate::queue::Queue;
use crate::recorder::Recorder;

type Outstanding = Mutex<HashMap<Key, Expectations>>;

pub(crate) struct ReplicaSets {
    replica_sets: Arc<Informer<ReplicaSet>>,
    pods: Arc<Informer<Pod>>,
    outstanding: Arc<Outstanding>,
    failures: Mutex<HashMap<Key, Failure>>,
    recorder: Recorder,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ReplicaSets {
    pub fn new(
        replica_sets: &Arc<Informer<ReplicaSet>>,
        pods: &Arc<Informer<Pod>>,
        queue: &Arc<Queue<Key>>,
        recorder: &Recorder,
    ) -> Self {
        let outstanding: Arc<Outstanding> = Arc::default();
        let (wake, forget) = (Arc::clone(queue), Arc::clone(&outstanding));
        replica_sets.subscribe(move |change| {
            let key = Key::of(&change.object().metadata);
            if matches!(change, Change::Deleted(_)) {
                lock(&forget).remove(&key);
            }
            wake.add(key);
        });
        let (wake, expected, known) = (
            Arc::clone(queue),
            Arc::clone(&outstanding),
            Arc::clone(replica_sets),
        );
        pods.subscribe(move |change| {
            settle(&expected, change);
            for pod in change.versions() {
                match controller_key(&pod.metadata, "ReplicaSet") {
                    Some(key) => wake.add(key),
                    None => adopters(&known, pod)
                        .into_iter()
                        .for_each(|key| wake.add(key)),
                }
            }
        });
        Self {
            replica_sets: Arc::clone(replica_sets),
            pods: Arc::clone(pods),
            outstanding,
            failures: Mutex::default(),
            recorder: recorder.for_component(Self::NAME),
        }
    }

    fn note(&self, key: &Key, note: impl FnOnce(Target) -> Note) {
        let uid = self
            .replica_sets
            .find(key)
            .and_then(|set| set.metadata.uid.clone());
        let about = Target {
            resource: Resource::of::<ReplicaSet>(),
            namespace: Some(key.namespace.clone()),
            name: key.name.clone(),
            uid,
        };
        self.recorder.record(note(about));
    }
}

/// Ticks off what the cache now shows.
fn settle(outstanding: &Outstanding, change: &Change<Pod>) {
    let pod = change.object();
    let Some(key) = controller_key(&pod.metadata, "ReplicaSet") else {
        return;
    };
    let mut outstanding = lock(outstanding);
    let Some(expectations) = outstanding.get_mut(&key) else {
        return;
    };
    let going = pod.metadata.deletion_timestamp.is_some() || matches!(change, Change::Deleted(_));
    if going {
        expectations.deletion_settled(pod.metadata.uid.as_deref().unwrap_or_default());
    }
    if matches!(change, Change::Applied { old: None, .. }) {
        expectations.creation_settled();
    }
}

fn adopters(replica_sets: &Informer<ReplicaSet>, pod: &Pod) -> Vec<Key> {
    if owner::controller(&pod.metadata).is_some() {
        return Vec::new();
    }
    let candidates =
        replica_sets.in_namespace(pod.metadata.namespace.as_deref().unwrap_or_default());
    let fits = |set: &&Arc<ReplicaSet>| {
        selector::matches(&set.spec.selector, pod.metadata.labels.as_ref())
    };
    candidates
        .iter()
        .filter(fits)
        .map(|set| Key::of(&set.metadata))
        .collect()
}

impl Controller for ReplicaSets {
    type Key = Key;
    const NAME: &'static str = "replicaset-controller";

    async fn plan(&self, key: &Key, now: Timestamp) -> Result<Plan, kube::Error> {
        // Before the pods are read: what settles in between is then visible in them.
        let expectations = lock(&self.outstanding)
            .get(key)
            .cloned()
            .unwrap_or_default();
        let failure = lock(&self.failures).get(key).cloned();
        let Some(found) = self.replica_sets.find(key) else {
            return Ok(Plan::default());
        };
        let observed = replicaset::Observed {
            replica_set: &found,
            pods: &self.pods.in_namespace(&key.namespace),
            replica_sets: &self.replica_sets.in_namespace(&key.namespace),
            expectations: &expectations,
            failure: failure.as_ref(),
        };
        Ok(replicaset::plan(&observed, now))
    }

    fn starting(&self, key: &Key, plan: &Plan, now: Timestamp) {
        let creations = plan
            .actions
            .iter()
            .filter(|action| matches!(action, Action::Create(_)))
            .count();
        let deletions: Vec<String> = plan
            .actions
            .iter()
            .filter_map(|action| match action {
                Action::Delete { target, .. } => target.uid.clone(),
                _ => None,
            })
            .collect();
        if creations > 0 || !deletions.is_empty() {
            lock(&self.outstanding)
                .entry(key.clone())
                .or_default()
                .expect(creations, deletions, now);
        }
    }

    fn settled(&self, key: &Key, action: &Action, outcome: &Result<Done, ActionError>) {
        match (action, outcome) {
            (Action::Create(Object::Pod(_)), Ok(Done { name, .. })) => {
                let message = format!("Created pod: {}", name.as_deref().unwrap_or_default());
                self.note(key, |about| {
                    Note::normal(about, "SuccessfulCreate", message)
                });
            }
            (Action::Delete { target, .. }, Ok(_)) => {
                let message = format!("Deleted pod: {}", target.name);
                self.note(key, |about| {
                    Note::normal(about, "SuccessfulDelete", message)
                });
            }
            (Action::Create(_), Err(_)) => {
                if let Some(expectations) = lock(&self.outstanding).get_mut(key) {
                    expectations.creation_settled();
                }
            }
            (Action::Delete { target, .. }, Err(_)) => {
                if let Some(expectations) = lock(&self.outstanding).get_mut(key) {
                    expectations.deletion_settled(target.uid.as_deref().unwrap_or_default());
                }
            }
            _ => {}
        }
    }

    fn failed(&self, key: &Key, action: Option<&Action>, error: &ActionError) -> bool {
        let (stage, reason, doing) = match action {
            Some(Action::Create(_)) => (Stage::Create, "FailedCreate", "creating"),
            Some(Action::Delete { .. }) => (Stage::Delete, "FailedDelete", "deleting"),
            _ => return false,
        };
        let message = error.to_string();
        self.note(key, |about| {
            Note::warning(about, reason, format!("Error {doing}: {message}"))
        });
        lock(&self.failures).insert(key.clone(), Failure { stage, message });
        true
    }

    fn completed(&self, key: &Key) {
        lock(&self.failures).remove(key);
    }
}
