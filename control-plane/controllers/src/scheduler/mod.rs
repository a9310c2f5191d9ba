//! The scheduler's loop: pending pods in, bindings out. Pods that fit nowhere wait for an event that could help them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::{Node, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use portcullis_reconcile::{Action, Note, Plan, Target, pod};
use portcullis_schedule::{Cluster, Decision, Refusal};
use serde_json::json;

use crate::actor::Controller;
use crate::execute::{ActionError, Done};
use crate::informer::{Change, Informer, Key};
use crate::queue::Queue;

const NAME: &str = "default-scheduler";

/// One lock over both: a pod is never set aside while the event that helps it slips by.
#[derive(Default)]
struct State {
    cluster: Cluster,
    unschedulable: HashSet<Key>,
}

pub(crate) struct Scheduler {
    pods: Arc<Informer<Pod>>,
    state: Arc<Mutex<State>>,
    queue: Arc<Queue<Key>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Scheduler {
    pub fn new(
        pods: &Arc<Informer<Pod>>,
        nodes: &Arc<Informer<Node>>,
        queue: &Arc<Queue<Key>>,
    ) -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let (wake, shared) = (Arc::clone(queue), Arc::clone(&state));
        nodes.subscribe(move |change| {
            let mut state = lock(&shared);
            match change {
                Change::Applied { old, new } => {
                    state.cluster.apply_node(Arc::clone(new));
                    if old.as_ref().is_none_or(|old| may_admit_more(old, new)) {
                        state.unschedulable.drain().for_each(|key| wake.add(key));
                    }
                }
                Change::Deleted(node) => {
                    state
                        .cluster
                        .remove_node(node.metadata.name.as_deref().unwrap_or_default());
                }
            }
        });
        let (wake, shared) = (Arc::clone(queue), Arc::clone(&state));
        pods.subscribe(move |change| take(&mut lock(&shared), change, &wake));
        Self {
            pods: Arc::clone(pods),
            state,
            queue: Arc::clone(queue),
        }
    }

    fn decide(&self, key: &Key, pod: &Pod) -> Decision {
        let mut state = lock(&self.state);
        let decision = state.cluster.decide(pod, rand::random());
        match &decision {
            Decision::Bind(node) => state.cluster.assume(pod, node),
            Decision::Unschedulable(_) => drop(state.unschedulable.insert(key.clone())),
        }
        decision
    }
}

fn take(state: &mut State, change: &Change<Pod>, wake: &Queue<Key>) {
    let pod = change.object();
    let key = Key::of(&pod.metadata);
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let held = state.cluster.is_placed(uid);
    match change {
        Change::Applied { old, new } => {
            state.cluster.apply_pod(new);
            // Our own status writes must not wake us.
            let news = old.as_ref().is_none_or(|old| old.spec != new.spec);
            if news && is_ours_to_place(new) {
                wake.add(key);
            }
        }
        Change::Deleted(_) => {
            state.unschedulable.remove(&key);
            state.cluster.remove_pod(uid);
        }
    }
    if held && !state.cluster.is_placed(uid) {
        state.unschedulable.drain().for_each(|key| wake.add(key));
    }
}

/// Whether a node changed in something a filter looks at.
fn may_admit_more(old: &Node, new: &Node) -> bool {
    let allocatable = |node: &Node| {
        node.status
            .as_ref()
            .and_then(|status| status.allocatable.clone())
    };
    old.spec != new.spec
        || old.metadata.labels != new.metadata.labels
        || allocatable(old) != allocatable(new)
}

fn is_ours_to_place(candidate: &Pod) -> bool {
    let Some(spec) = candidate.spec.as_ref() else {
        return false;
    };
    let gated = spec
        .scheduling_gates
        .as_ref()
        .is_some_and(|gates| !gates.is_empty());
    let ours = spec.scheduler_name.as_deref().unwrap_or(NAME) == NAME;
    ours && !gated
        && pod::node_name(candidate).is_none()
        && candidate.metadata.deletion_timestamp.is_none()
        && !pod::is_terminal(candidate)
}

impl Controller for Scheduler {
    type Key = Key;
    const NAME: &'static str = NAME;

    async fn plan(&self, key: &Key, now: Timestamp) -> Result<Plan, kube::Error> {
        let Some(found) = self.pods.find(key).filter(|found| is_ours_to_place(found)) else {
            return Ok(Plan::default());
        };
        if lock(&self.state)
            .cluster
            .is_placed(found.metadata.uid.as_deref().unwrap_or_default())
        {
            return Ok(Plan::default());
        }
        Ok(match self.decide(key, &found) {
            Decision::Bind(node) => bind(&found, node, key),
            Decision::Unschedulable(refusal) => refuse(&found, refusal, now),
        })
    }

    fn settled(&self, _key: &Key, action: &Action, outcome: &Result<Done, ActionError>) {
        if let (Action::Bind { target, .. }, Err(_)) = (action, outcome) {
            let mut state = lock(&self.state);
            state
                .cluster
                .forget(target.uid.as_deref().unwrap_or_default());
            // The place is free again: others may have been turned away because of it.
            state
                .unschedulable
                .drain()
                .for_each(|key| self.queue.add(key));
        }
    }
}

fn bind(pod: &Pod, node: String, key: &Key) -> Plan {
    let target = Target::of(pod);
    let message = format!("Successfully assigned {key} to {node}");
    Plan {
        events: vec![Note::normal(target.clone(), "Scheduled", message)],
        actions: vec![Action::Bind { target, node }],
        ..Plan::default()
    }
}

fn refuse(pod: &Pod, refusal: Refusal, now: Timestamp) -> Plan {
    let Refusal { message } = refusal;
    let target = Target::of(pod);
    let standing = pod::condition(pod, "PodScheduled");
    let said = standing.is_some_and(|standing| {
        standing.status == "False" && standing.message.as_ref() == Some(&message)
    });
    let mut plan = Plan::default();
    if !said {
        let conditions = unscheduled(pod, message.clone(), now);
        let patch = json!({"status": {"phase": pod::phase(pod), "conditions": conditions}});
        plan.actions.push(Action::PatchStatus {
            target: target.clone(),
            patch,
        });
    }
    plan.events
        .push(Note::warning(target, "FailedScheduling", message));
    plan
}

/// A merge patch replaces lists, so the other conditions are carried along.
fn unscheduled(pod: &Pod, message: String, now: Timestamp) -> Vec<PodCondition> {
    let current: Vec<PodCondition> = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .cloned()
        .collect();
    let standing = current
        .iter()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    let since = standing
        .and_then(|condition| condition.last_transition_time.clone())
        .or(Some(Time(now)));
    let scheduled = PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "False".to_owned(),
        reason: Some("Unschedulable".to_owned()),
        message: Some(message),
        last_transition_time: since,
        ..PodCondition::default()
    };
    let others = current
        .into_iter()
        .filter(|condition| condition.type_ != "PodScheduled");
    others.chain([scheduled]).collect()
}
