//! The decision about one pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use crate::cluster::{Cluster, NodeState};
use crate::filter::{self, Objection};
use crate::footprint::Footprint;
use crate::score;

/// Where the pod goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Name of the node.
    Bind(String),
    Unschedulable(Refusal),
}

/// Why it goes nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The message of the PodScheduled condition and of the FailedScheduling event.
    pub message: String,
}

impl Cluster {
    /// Picks the best node. `tie_breaker` is any number; it chooses among equals.
    pub fn decide(&self, pod: &Pod, tie_breaker: u64) -> Decision {
        let footprint = Footprint::of(pod);
        let mut fitting = Vec::new();
        let mut objections = Vec::new();
        for state in self.nodes() {
            match filter::object(pod, &footprint, state) {
                None => fitting.push(state),
                Some(objection) => objections.push(objection),
            }
        }
        match best(pod, &footprint, &fitting, tie_breaker) {
            Some(node) => Decision::Bind(node.to_owned()),
            None => Decision::Unschedulable(Refusal {
                message: refusal(&objections),
            }),
        }
    }
}

fn best<'a>(
    pod: &Pod,
    footprint: &Footprint,
    fitting: &[&'a NodeState],
    tie_breaker: u64,
) -> Option<&'a str> {
    let scores = score::scores(pod, footprint, fitting);
    let highest = scores.iter().max()?;
    let best: Vec<&NodeState> = fitting
        .iter()
        .zip(&scores)
        .filter(|(_, score)| *score == highest)
        .map(|(state, _)| *state)
        .collect();
    let choice = tie_breaker % u64::try_from(best.len()).ok()?;
    best.get(usize::try_from(choice).ok()?)
        .map(|state| state.name())
}

/// `0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable. preemption: …`
fn refusal(objections: &[Objection]) -> String {
    if objections.is_empty() {
        return "no nodes available to schedule pods".to_owned();
    }
    let total = objections.len();
    let reasons = counted(
        objections
            .iter()
            .flat_map(|objection| objection.reasons.iter().map(String::as_str)),
    );
    let preemption = counted(
        objections
            .iter()
            .map(|objection| match objection.evictable {
                true => "No preemption victims found for incoming pod",
                false => "Preemption is not helpful for scheduling",
            }),
    );
    format!(
        "0/{total} nodes are available: {reasons}. preemption: 0/{total} nodes are available: {preemption}."
    )
}

/// `<count> <reason>` for each reason, sorted as text.
fn counted<'a>(reasons: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason).or_insert(0) += 1;
    }
    let mut texts: Vec<String> = counts
        .into_iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    texts.sort();
    texts.join(", ")
}
