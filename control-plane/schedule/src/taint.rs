//! Taints and tolerations.

use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};

/// The first taint that keeps the pod off the node.
pub(crate) fn untolerated<'a>(pod: &Pod, node: &'a Node) -> Option<&'a Taint> {
    taints(node).find(|taint| {
        matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute") && !is_tolerated(pod, taint)
    })
}

/// How many taints ask, without insisting, that the pod goes elsewhere.
pub(crate) fn reluctance(pod: &Pod, node: &Node) -> i64 {
    let soft = taints(node)
        .filter(|taint| taint.effect == "PreferNoSchedule" && !is_tolerated(pod, taint));
    i64::try_from(soft.count()).unwrap_or(i64::MAX)
}

/// Whether the pod tolerates the taint `node.kubernetes.io/unschedulable` that a cordon stands for.
pub(crate) fn tolerates_cordon(pod: &Pod) -> bool {
    let cordon = Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    is_tolerated(pod, &cordon)
}

fn taints(node: &Node) -> impl Iterator<Item = &Taint> {
    node.spec
        .iter()
        .flat_map(|spec| spec.taints.iter().flatten())
}

fn is_tolerated(pod: &Pod, taint: &Taint) -> bool {
    let mut tolerations = pod
        .spec
        .iter()
        .flat_map(|spec| spec.tolerations.iter().flatten());
    tolerations.any(|toleration| covers(toleration, taint))
}

fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    let (ours, theirs) = (
        toleration.value.as_deref().unwrap_or_default(),
        taint.value.as_deref().unwrap_or_default(),
    );
    let compared = |test: fn(&i64, &i64) -> bool| {
        let theirs = theirs.parse::<i64>().ok();
        theirs
            .zip(ours.parse::<i64>().ok())
            .is_some_and(|(theirs, ours)| test(&theirs, &ours))
    };
    let value = match toleration.operator.as_deref().unwrap_or("Equal") {
        "Exists" => true,
        "" | "Equal" => ours == theirs,
        // KEP-5471.
        "Gt" => compared(i64::gt),
        "Lt" => compared(i64::lt),
        _ => false,
    };
    (effect.is_empty() || effect == taint.effect) && (key.is_empty() || key == taint.key) && value
}
