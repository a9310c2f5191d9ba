//! Who else is a controller: Pods with the labels of our own, as ingress-nginx counts.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

/// A selector for the Pods of our workload, whatever their revision.
pub fn peer_selector(own_labels: &BTreeMap<String, String>) -> String {
    let lasting = own_labels
        .iter()
        .filter(|(name, _)| !PER_REVISION_LABELS.contains(&name.as_str()));
    let terms: Vec<String> = lasting
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    terms.join(",")
}

/// Whether a Pod that was found is another controller that stays when the one named `own` leaves. One that is leaving
/// too, or has ended, is none: when all are told to stop at once, each would leave the statuses to the others.
pub fn is_peer(pod: &Pod, own: &str) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    let has_ended = matches!(phase, Some("Succeeded" | "Failed"));
    let is_leaving = pod.metadata.deletion_timestamp.is_some();
    !has_ended && !is_leaving && pod.metadata.name.as_deref() != Some(own)
}

/// Labels that differ between the Pods of one Deployment's revisions.
const PER_REVISION_LABELS: [&str; 3] = [
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
];

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn peers_are_those_that_stay() {
        let peer = |metadata: Value, status: Value| {
            let pod = json!({"metadata": metadata, "status": status});
            is_peer(&serde_json::from_value(pod).expect("a Pod"), "own")
        };
        let other = || json!({"name": "other"});
        let leaving = json!({"name": "other", "deletionTimestamp": "2026-01-01T00:00:00Z"});
        let running = || json!({"phase": "Running"});
        assert!(!peer(json!({"name": "own"}), running()));
        assert!(peer(other(), running()));
        assert!(peer(other(), json!({})));
        assert!(!peer(other(), json!({"phase": "Failed"})));
        assert!(!peer(leaving, running()));
    }

    #[test]
    fn a_revision_is_no_other_workload() {
        let labels = [
            ("app", "edge"),
            ("pod-template-hash", "5f7"),
            ("tier", "in"),
        ];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(peer_selector(&labels.into()), "app=edge,tier=in");
        assert_eq!(peer_selector(&BTreeMap::new()), "");
    }
}
