//! Pods nobody will ever report on: those bound to a node that is gone.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::plan::{Action, Plan, Propagation, Target};
use crate::pod;

/// A node may be deleted and registered again; its pods are spared this long (as upstream).
pub const QUARANTINE: SignedDuration = SignedDuration::from_secs(40);

/// What one pod's decision needs.
pub struct Observed<'a> {
    pub pod: &'a Pod,
    /// Since when the pod's node is known to be absent; `None` while it exists.
    pub node_absent_since: Option<Timestamp>,
}

/// Marks the pod failed and removes it without grace: there is no kubelet to grant any.
pub fn plan(observed: &Observed<'_>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let Some(since) = observed.node_absent_since else {
        return plan;
    };
    if pod::node_name(observed.pod).is_none() {
        return plan;
    }
    let absent = now.duration_since(since);
    if absent < QUARANTINE {
        plan.look_again_in(QUARANTINE - absent);
        return plan;
    }
    let target = Target::of(observed.pod);
    if !pod::is_terminal(observed.pod) {
        let status =
            json!({"status": {"phase": "Failed", "conditions": disrupted(observed.pod, now)}});
        plan.actions.push(Action::PatchStatus {
            target: target.clone(),
            patch: status,
        });
    }
    let propagation = Propagation::Background;
    plan.actions.push(Action::Delete {
        target,
        propagation,
        resource_version: None,
        force: true,
    });
    plan
}

/// A merge patch replaces lists, so the other conditions are carried along.
fn disrupted(pod: &Pod, now: Timestamp) -> Vec<Value> {
    let current = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let mut conditions: Vec<Value> = current
        .filter(|condition| condition.type_ != "DisruptionTarget")
        .map(|condition| json!(condition))
        .collect();
    conditions.push(json!({
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "DeletionByPodGC",
        "message": "PodGC: node no longer exists",
        "lastTransitionTime": Time(now),
    }));
    conditions
}
