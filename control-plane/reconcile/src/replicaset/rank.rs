//! Which pods go first when there are too many: those whose loss hurts least.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

use crate::{owner, pod};

/// How many active pods of the same workload each node runs.
pub(super) struct Crowd(BTreeMap<String, usize>);

impl Crowd {
    /// Counts the pods of this set and of its siblings under the same Deployment.
    pub fn count(set: &ReplicaSet, sets: &[Arc<ReplicaSet>], pods: &[Arc<Pod>]) -> Self {
        let parent = owner::controller(&set.metadata).map(|reference| reference.uid.as_str());
        let siblings: Vec<&str> = sets
            .iter()
            .filter(|other| parent.is_some() && controller_uid(&other.metadata) == parent)
            .filter_map(|other| other.metadata.uid.as_deref())
            .chain(set.metadata.uid.as_deref())
            .collect();
        let mut nodes = BTreeMap::new();
        for candidate in pods.iter().filter(|pod| pod::is_active(pod)) {
            let related =
                controller_uid(&candidate.metadata).is_some_and(|uid| siblings.contains(&uid));
            if let Some(node) = pod::node_name(candidate).filter(|_| related) {
                *nodes.entry(node.to_owned()).or_insert(0) += 1;
            }
        }
        Self(nodes)
    }

    fn of(&self, pod: &Pod) -> usize {
        pod::node_name(pod)
            .and_then(|node| self.0.get(node))
            .copied()
            .unwrap_or(0)
    }
}

fn controller_uid(metadata: &ObjectMeta) -> Option<&str> {
    owner::controller(metadata).map(|reference| reference.uid.as_str())
}

/// Smaller goes first. The order is upstream's `ActivePodsWithRanks`: unassigned, pending, not ready, cheap by
/// annotation, crowded, recently ready, often restarted, young; the UID breaks ties so replays agree.
pub(super) fn deletion_order(left: &Pod, right: &Pod, crowd: &Crowd) -> Ordering {
    rank(left, crowd).cmp(&rank(right, crowd))
}

/// Field order is the precedence.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank<'a> {
    assigned: bool,
    phase: u8,
    ready: bool,
    cost: i32,
    crowd: Reverse<usize>,
    ready_since: Reverse<Option<Timestamp>>,
    restarts: Reverse<i32>,
    created: Reverse<Option<Timestamp>>,
    uid: Option<&'a str>,
}

fn rank<'a>(pod: &'a Pod, crowd: &Crowd) -> Rank<'a> {
    Rank {
        assigned: pod::node_name(pod).is_some(),
        phase: match pod::phase(pod) {
            "Pending" => 0,
            "Running" => 2,
            _ => 1,
        },
        ready: pod::is_ready(pod),
        cost: deletion_cost(pod),
        crowd: Reverse(crowd.of(pod)),
        ready_since: Reverse(pod::ready_since(pod)),
        restarts: Reverse(restarts(pod)),
        created: Reverse(pod.metadata.creation_timestamp.as_ref().map(|time| time.0)),
        uid: pod.metadata.uid.as_deref(),
    }
}

/// `controller.kubernetes.io/pod-deletion-cost` (KEP-2255); 0 where absent or not a number.
fn deletion_cost(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    let text = annotations
        .and_then(|annotations| annotations.get("controller.kubernetes.io/pod-deletion-cost"));
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod
        .status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    statuses
        .map(|container| container.restart_count)
        .max()
        .unwrap_or(0)
}
