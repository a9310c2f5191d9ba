//! Labels and label selectors.

use serde_json::Value;

use super::faults::{Faults, Path, list, text};
use super::names;

pub(super) fn labels(labels: &Value, at: &Path, faults: &mut Faults) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        faults.each(at, key, names::label_key(key));
        let value = value.as_str().unwrap_or_default();
        faults.each(at, value, names::label_value(value));
    }
}

pub(super) fn selector(selector: &Value, at: &Path, faults: &mut Faults) {
    labels(&selector["matchLabels"], &at.child("matchLabels"), faults);
    for (index, expression) in list(selector, "matchExpressions").iter().enumerate() {
        let here = at.child("matchExpressions").index(index);
        let values = list(expression, "values");
        match text(expression, "operator") {
            "In" | "NotIn" if values.is_empty() => {
                faults.required(
                    here.child("values"),
                    "must be specified when `operator` is 'In' or 'NotIn'",
                );
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => faults.forbidden(
                here.child("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => faults.invalid(
                here.child("operator"),
                &expression["operator"],
                "not a valid selector operator",
            ),
        }
        let key = text(expression, "key");
        faults.each(&here.child("key"), key, names::label_key(key));
        for (index, value) in values.iter().enumerate() {
            let value = value.as_str().unwrap_or_default();
            faults.each(
                &here.child("values").index(index),
                value,
                names::label_value(value),
            );
        }
    }
}

/// Whether a selector that selects something selects these labels.
pub(super) fn matches(selector: &Value, labels: &Value) -> bool {
    let exact = selector["matchLabels"].as_object().into_iter().flatten();
    exact
        .into_iter()
        .all(|(key, value)| labels.get(key) == Some(value))
        && list(selector, "matchExpressions").iter().all(|expression| {
            let found = labels.get(text(expression, "key"));
            let named = found.is_some_and(|value| list(expression, "values").contains(value));
            match text(expression, "operator") {
                "In" => named,
                "NotIn" => !named,
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}

pub(super) fn is_empty(selector: &Value) -> bool {
    let labels = selector["matchLabels"]
        .as_object()
        .is_none_or(|labels| labels.is_empty());
    labels && list(selector, "matchExpressions").is_empty()
}
