//! Node selectors and node affinity terms.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Node, NodeAffinity, NodeSelectorRequirement, NodeSelectorTerm, Pod,
};

/// Whether `nodeSelector` and the required node affinity allow the node.
pub(crate) fn allows(pod: &Pod, node: &Node) -> bool {
    let Some(spec) = pod.spec.as_ref() else {
        return true;
    };
    let labels = labels(node);
    let selected = spec
        .node_selector
        .iter()
        .flatten()
        .all(|(key, value)| labels.get(key) == Some(value));
    let affinity = affinity(pod);
    let required = affinity.and_then(|affinity| {
        affinity
            .required_during_scheduling_ignored_during_execution
            .as_ref()
    });
    selected
        && required.is_none_or(|required| {
            required
                .node_selector_terms
                .iter()
                .any(|term| matches(term, node))
        })
}

/// The weights of the preferred terms the node satisfies, added up.
pub(crate) fn preference(pod: &Pod, node: &Node) -> i64 {
    let preferred = affinity(pod).and_then(|affinity| {
        affinity
            .preferred_during_scheduling_ignored_during_execution
            .as_ref()
    });
    let satisfied = preferred
        .into_iter()
        .flatten()
        .filter(|preferred| matches(&preferred.preference, node));
    satisfied.map(|preferred| i64::from(preferred.weight)).sum()
}

fn affinity(pod: &Pod) -> Option<&NodeAffinity> {
    pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()
}

fn labels(node: &Node) -> &BTreeMap<String, String> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    node.metadata.labels.as_ref().unwrap_or(&NONE)
}

/// A term without any requirement matches nothing, as the API says.
fn matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let labels = labels(node);
    let name = node.metadata.name.as_deref();
    (!expressions.is_empty() || !fields.is_empty())
        && expressions.iter().all(|requirement| {
            holds(
                requirement,
                labels.get(&requirement.key).map(String::as_str),
            )
        })
        && fields
            .iter()
            .all(|requirement| requirement.key == "metadata.name" && holds(requirement, name))
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = value.is_some_and(|value| values.iter().any(|listed| listed == value));
    let compared = |test: fn(&i64, &i64) -> bool| {
        let value = value.and_then(|value| value.parse::<i64>().ok());
        let bound = values.first().and_then(|bound| bound.parse::<i64>().ok());
        value
            .zip(bound)
            .is_some_and(|(value, bound)| test(&value, &bound))
    };
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared(i64::gt),
        "Lt" => compared(i64::lt),
        _ => false,
    }
}
