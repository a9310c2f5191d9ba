//! Label selectors, as the API defines them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Whether labels satisfy the selector. An unknown operator matches nothing, so a typo never selects everything.
pub fn matches(selector: &LabelSelector, labels: Option<&BTreeMap<String, String>>) -> bool {
    let value = |key: &str| labels.and_then(|labels| labels.get(key));
    let exact = selector
        .match_labels
        .iter()
        .flatten()
        .all(|(key, wanted)| value(key) == Some(wanted));
    exact
        && selector
            .match_expressions
            .iter()
            .flatten()
            .all(|expression| {
                let value = value(&expression.key);
                let listed = |value: &String| {
                    expression
                        .values
                        .iter()
                        .flatten()
                        .any(|wanted| wanted == value)
                };
                match expression.operator.as_str() {
                    "In" => value.is_some_and(listed),
                    "NotIn" => !value.is_some_and(listed),
                    "Exists" => value.is_some(),
                    "DoesNotExist" => value.is_none(),
                    _ => false,
                }
            })
}

/// Whether a plain map selector (Service style) is satisfied.
pub fn matches_map(
    selector: &BTreeMap<String, String>,
    labels: Option<&BTreeMap<String, String>>,
) -> bool {
    selector
        .iter()
        .all(|(key, wanted)| labels.and_then(|labels| labels.get(key)) == Some(wanted))
}

/// Whether the selector selects everything, which workloads refuse.
pub fn is_empty(selector: &LabelSelector) -> bool {
    selector
        .match_labels
        .as_ref()
        .is_none_or(BTreeMap::is_empty)
        && selector
            .match_expressions
            .as_ref()
            .is_none_or(Vec::is_empty)
}
