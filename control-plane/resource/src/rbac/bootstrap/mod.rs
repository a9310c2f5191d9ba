//! The roles and bindings that every cluster begins with, and how they are kept.
//!
//! The facts stand in `roles.txt`. At each start what is missing is made again and what was taken away is given back; what
//! an administrator added stays. An object annotated `rbac.authorization.kubernetes.io/autoupdate: "false"` is left alone.

mod reconcile;
mod table;
#[cfg(test)]
mod tests;

pub use reconcile::{Reconciled, reconcile};

use serde_json::{Value, json};

use crate::kind::{self, KindSpec};

/// One object of the table.
#[derive(Debug, Clone)]
pub struct BootstrapObject {
    pub kind: &'static KindSpec,
    /// Empty for cluster kinds.
    pub namespace: String,
    pub name: String,
    pub object: Value,
}

/// Everything in the table: roles before the bindings to them.
pub fn objects() -> Vec<BootstrapObject> {
    let table = table::parse(TABLE).expect("the table of roles is our own, and a test reads it");
    let (bindings, roles): (Vec<_>, Vec<_>) = table
        .into_iter()
        .partition(|entry| matches!(entry.content, table::Content::Binding { .. }));
    roles.into_iter().chain(bindings).map(object).collect()
}

fn object(entry: table::Entry) -> BootstrapObject {
    let cluster = entry.namespace.is_empty();
    let plural = match (&entry.content, cluster) {
        (table::Content::Role { .. }, true) => "clusterroles",
        (table::Content::Role { .. }, false) => "roles",
        (table::Content::Binding { .. }, true) => "clusterrolebindings",
        (table::Content::Binding { .. }, false) => "rolebindings",
    };
    let kind = kind::by_resource(super::GROUP, "v1", plural).expect("RBAC's kinds have rows");
    let mut labels = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
    if let table::Content::Role {
        labelled: Some(label),
        ..
    } = &entry.content
    {
        labels[aggregation_label(label)] = json!("true");
    }
    let mut object = json!({
        "apiVersion": kind.api_version(),
        "kind": kind.kind,
        "metadata": {"name": entry.name, "labels": labels, "annotations": {AUTOUPDATE: "true"}},
    });
    if !cluster {
        object["metadata"]["namespace"] = json!(entry.namespace);
    }
    match entry.content {
        table::Content::Role {
            rules, aggregates, ..
        } => {
            let rules: Vec<Value> = rules.iter().map(super::Rule::value).collect();
            match aggregates {
                Some(label) => {
                    let selector = json!({"matchLabels": {aggregation_label(&label): "true"}});
                    object["aggregationRule"] = json!({"clusterRoleSelectors": [selector]});
                    object["rules"] = Value::Null;
                }
                None => object["rules"] = json!(rules),
            }
        }
        table::Content::Binding { role, subjects } => {
            let of = if cluster { "ClusterRole" } else { "Role" };
            object["roleRef"] = json!({"apiGroup": super::GROUP, "kind": of, "name": role});
            object["subjects"] = json!(subjects);
        }
    }
    BootstrapObject {
        kind,
        namespace: entry.namespace,
        name: entry.name,
        object,
    }
}

fn aggregation_label(label: &str) -> String {
    format!("rbac.authorization.k8s.io/aggregate-to-{label}")
}

/// Whether an object may be corrected at a start.
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const TABLE: &str = include_str!("roles.txt");
