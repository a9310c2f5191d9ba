//! Filters: why a pod cannot go to a node. The texts are upstream's, because people and tests read them.

use k8s_openapi::api::core::v1::Pod;

use crate::cluster::NodeState;
use crate::footprint::{Footprint, PODS};
use crate::{affinity, taint};

/// What the first failing filter says about a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Objection {
    /// More than one only from the resource filter.
    pub reasons: Vec<String>,
    /// Whether removing other pods could help.
    pub evictable: bool,
}

impl Objection {
    fn fixed(reason: impl Into<String>) -> Self {
        Self {
            reasons: vec![reason.into()],
            evictable: false,
        }
    }
}

/// `None` when the pod fits. The order is upstream's: the first filter that fails speaks.
pub(crate) fn object(pod: &Pod, footprint: &Footprint, state: &NodeState) -> Option<Objection> {
    let node = &*state.node;
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true)
        && !taint::tolerates_cordon(pod)
    {
        return Some(Objection::fixed("node(s) were unschedulable"));
    }
    let named = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.node_name.as_deref())
        .filter(|name| !name.is_empty());
    if named.is_some_and(|name| name != state.name()) {
        return Some(Objection::fixed(
            "node(s) didn't match the requested node name",
        ));
    }
    if let Some(taint) = taint::untolerated(pod, node) {
        let value = taint.value.as_deref().unwrap_or_default();
        return Some(Objection::fixed(format!(
            "node(s) had untolerated taint {{{}: {value}}}",
            taint.key
        )));
    }
    if !affinity::allows(pod, node) {
        return Some(Objection::fixed(
            "node(s) didn't match Pod's node affinity/selector",
        ));
    }
    if footprint
        .ports
        .iter()
        .any(|port| state.ports.iter().any(|taken| taken.conflicts_with(port)))
    {
        let reasons = vec!["node(s) didn't have free ports for the requested pod ports".to_owned()];
        return Some(Objection {
            reasons,
            evictable: true,
        });
    }
    lacking(footprint, state)
}

fn lacking(footprint: &Footprint, state: &NodeState) -> Option<Objection> {
    let mut reasons = Vec::new();
    if state.pods >= state.allocatable.amount(PODS) {
        reasons.push("Too many pods".to_owned());
    }
    let mut hopeless = false;
    let wanted = footprint
        .requests
        .0
        .iter()
        .filter(|(_, amount)| **amount > 0);
    for (name, amount) in wanted {
        let allocatable = state.allocatable.amount(name);
        if *amount > allocatable - state.requested.amount(name) {
            reasons.push(format!("Insufficient {name}"));
            hopeless |= *amount > allocatable;
        }
    }
    (!reasons.is_empty()).then_some(Objection {
        reasons,
        evictable: !hopeless,
    })
}
