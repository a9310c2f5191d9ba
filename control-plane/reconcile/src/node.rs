//! Node lifecycle: a node that stopped renewing its Lease becomes Unknown, and conditions become taints.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::plan::{Action, Note, Plan, Target};
use crate::pod;

/// `--node-monitor-grace-period` upstream, rounded to the Lease's own duration.
pub const GRACE: SignedDuration = SignedDuration::from_secs(40);

/// What one node's decision needs.
pub struct Observed<'a> {
    pub node: &'a Node,
    /// When the observer last saw the node's Lease or heartbeat change, by the observer's clock.
    pub heard_at: Timestamp,
    /// The pods bound to the node.
    pub pods: &'a [Arc<Pod>],
}

/// Decides conditions and taints, and takes pods of a silent node out of service.
pub fn plan(observed: &Observed<'_>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let node = observed.node;
    if node.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let silence = now.duration_since(observed.heard_at);
    let ready = ready_status(node);
    if silence < GRACE {
        plan.look_again_in(GRACE - silence);
    } else if ready != "Unknown" {
        plan.actions.push(Action::PatchStatus {
            target: Target::of(node),
            patch: json!({"status": {"conditions": unknown_conditions(node, now)}}),
        });
        let message = format!(
            "Node {} status is now: NodeNotReady",
            node.metadata.name.as_deref().unwrap_or_default()
        );
        plan.events
            .push(Note::normal(Target::of(node), "NodeNotReady", message));
        // Taints and pods follow when this write comes back: it changes the resourceVersion they are written under.
        return plan;
    }
    plan.actions.extend(taint(node, ready, now));
    if ready != "True" {
        plan.actions.extend(
            observed
                .pods
                .iter()
                .filter(|pod| pod::is_ready(pod))
                .map(|pod| unready(pod, now)),
        );
    }
    plan
}

fn ready_status(node: &Node) -> &str {
    condition_status(node, "Ready").unwrap_or("Missing")
}

fn condition_status<'a>(node: &'a Node, kind: &str) -> Option<&'a str> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|condition| condition.type_ == kind)
        .map(|condition| condition.status.as_str())
}

fn unknown_conditions(node: &Node, now: Timestamp) -> Vec<NodeCondition> {
    let current = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.clone())
        .unwrap_or_default();
    let mut conditions: Vec<NodeCondition> = current
        .iter()
        .filter(|condition| !MONITORED.contains(&condition.type_.as_str()))
        .cloned()
        .collect();
    conditions.extend(MONITORED.iter().map(|kind| {
        let standing = current.iter().find(|condition| condition.type_ == *kind);
        NodeCondition {
            type_: (*kind).to_owned(),
            status: "Unknown".to_owned(),
            reason: Some("NodeStatusUnknown".to_owned()),
            message: Some("Kubelet stopped posting node status.".to_owned()),
            last_heartbeat_time: standing
                .and_then(|condition| condition.last_heartbeat_time.clone()),
            last_transition_time: Some(Time(now)),
        }
    }));
    conditions
}

/// Adds and removes the taints this controller owns; all others stay.
fn taint(node: &Node, ready: &str, now: Timestamp) -> Option<Action> {
    let current = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.clone())
        .unwrap_or_default();
    let wanted = wanted_taints(node, ready)?;
    let mut taints: Vec<Taint> = current
        .iter()
        .filter(|taint| !OWNED.contains(&taint.key.as_str()))
        .cloned()
        .collect();
    for Wanted { key, effect } in wanted {
        let standing = current
            .iter()
            .find(|taint| taint.key == key && taint.effect == effect);
        taints.push(standing.cloned().unwrap_or_else(|| Taint {
            key: key.to_owned(),
            effect: effect.to_owned(),
            value: None,
            time_added: (effect == NO_EXECUTE).then_some(Time(now)),
        }));
    }
    let same = taints.len() == current.len() && taints.iter().all(|taint| current.contains(taint));
    let patch = json!({
        "metadata": {"resourceVersion": node.metadata.resource_version},
        "spec": {"taints": taints},
    });
    (!same).then(|| Action::Patch {
        target: Target::of(node),
        patch,
    })
}

struct Wanted {
    key: &'static str,
    effect: &'static str,
}

/// `None` before the node has said anything about itself.
fn wanted_taints(node: &Node, ready: &str) -> Option<Vec<Wanted>> {
    let mut wanted = match ready {
        "True" => Vec::new(),
        "False" => both(NOT_READY),
        "Unknown" => both(UNREACHABLE),
        _ => return None,
    };
    for (kind, key) in PRESSURES {
        if condition_status(node, kind) == Some("True") {
            wanted.push(Wanted {
                key,
                effect: NO_SCHEDULE,
            });
        }
    }
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        wanted.push(Wanted {
            key: UNSCHEDULABLE,
            effect: NO_SCHEDULE,
        });
    }
    Some(wanted)
}

fn both(key: &'static str) -> Vec<Wanted> {
    vec![
        Wanted {
            key,
            effect: NO_SCHEDULE,
        },
        Wanted {
            key,
            effect: NO_EXECUTE,
        },
    ]
}

/// A silent node's pods must not receive traffic, and nobody else can say so.
fn unready(pod: &Pod, now: Timestamp) -> Action {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let conditions: Vec<_> = conditions
        .cloned()
        .map(|mut condition| {
            if condition.type_ == "Ready" {
                condition.status = "False".to_owned();
                condition.last_transition_time = Some(Time(now));
            }
            condition
        })
        .collect();
    Action::PatchStatus {
        target: Target::of(pod),
        patch: json!({"status": {"conditions": conditions}}),
    }
}

/// Conditions only the kubelet can vouch for.
const MONITORED: &[&str] = &["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    (
        "NetworkUnavailable",
        "node.kubernetes.io/network-unavailable",
    ),
];
const OWNED: &[&str] = &[
    NOT_READY,
    UNREACHABLE,
    UNSCHEDULABLE,
    "node.kubernetes.io/memory-pressure",
    "node.kubernetes.io/disk-pressure",
    "node.kubernetes.io/pid-pressure",
    "node.kubernetes.io/network-unavailable",
];
const NO_SCHEDULE: &str = "NoSchedule";
const NO_EXECUTE: &str = "NoExecute";
