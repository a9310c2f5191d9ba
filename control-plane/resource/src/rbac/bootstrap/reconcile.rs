//! What becomes of one object of the table at a start (`pkg/registry/rbac/reconciliation`).

use serde_json::{Value, json};

use super::AUTOUPDATE;
use crate::rbac::{Rule, cover};

/// What to do with the object there is.
#[derive(Debug, Clone, PartialEq)]
pub enum Reconciled {
    Keep,
    Write(Value),
    /// A binding to another role: its `roleRef` cannot be changed.
    Replace,
}

/// Gives back what `found` lacks of `wanted`; what it has more stays.
pub fn reconcile(found: &Value, wanted: &Value) -> Reconciled {
    if found["metadata"]["annotations"][AUTOUPDATE] == "false" {
        return Reconciled::Keep;
    }
    if found["roleRef"] != wanted["roleRef"] {
        return Reconciled::Replace;
    }
    let mut merged = found.clone();
    for member in ["labels", "annotations"] {
        let wanted = wanted["metadata"][member].as_object();
        for (key, value) in wanted.into_iter().flatten() {
            if found["metadata"][member].get(key).is_none() {
                merged["metadata"][member][key] = value.clone();
            }
        }
    }
    if wanted["aggregationRule"].is_null() {
        add_rules(&mut merged, wanted);
    } else {
        let (list, selectors) = ("clusterRoleSelectors", "aggregationRule");
        add_missing(&mut merged[selectors], &wanted[selectors], list);
    }
    add_missing(&mut merged, wanted, "subjects");
    if merged == *found {
        Reconciled::Keep
    } else {
        Reconciled::Write(merged)
    }
}

/// By what rules grant, not by how they are written.
fn add_rules(merged: &mut Value, wanted: &Value) {
    let missing = cover::uncovered(&Rule::all_of(merged), &Rule::all_of(wanted));
    if missing.is_empty() {
        return;
    }
    let mut rules = merged["rules"].as_array().cloned().unwrap_or_default();
    rules.extend(missing.iter().map(Rule::value));
    merged["rules"] = json!(rules);
}

fn add_missing(merged: &mut Value, wanted: &Value, list: &str) {
    let present = merged[list].as_array().cloned().unwrap_or_default();
    let wanted = wanted[list].as_array().into_iter().flatten();
    let missing: Vec<Value> = wanted
        .filter(|item| !present.contains(item))
        .cloned()
        .collect();
    if !missing.is_empty() {
        merged[list] = json!([present, missing].concat());
    }
}
