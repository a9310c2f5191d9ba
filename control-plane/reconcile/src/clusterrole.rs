//! Aggregated ClusterRoles hold the rules of all roles that they select
//! (`pkg/controller/clusterroleaggregation`).

use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use k8s_openapi::jiff::Timestamp;

use crate::plan::{Action, Object, Plan};
use crate::selector;

/// What one role's decision needs.
pub struct Observed<'a> {
    pub role: &'a ClusterRole,
    /// Every ClusterRole there is.
    pub roles: &'a [Arc<ClusterRole>],
}

/// Whether a role's rules are gathered from others.
pub fn is_aggregated(role: &ClusterRole) -> bool {
    role.aggregation_rule.is_some()
}

/// Writes the gathered rules where others stand. Roles without an aggregation rule are left alone.
pub fn plan(observed: &Observed<'_>, _now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let Some(aggregation) = &observed.role.aggregation_rule else {
        return plan;
    };
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in aggregation.cluster_role_selectors.iter().flatten() {
        let mut selected: Vec<&ClusterRole> = observed
            .roles
            .iter()
            .map(AsRef::as_ref)
            .filter(|role| role.metadata.name != observed.role.metadata.name)
            .filter(|role| selector::matches(selector, role.metadata.labels.as_ref()))
            .collect();
        // By name, so that the rules have one order.
        selected.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        for rule in selected.iter().flat_map(|role| role.rules.iter().flatten()) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    if observed.role.rules.as_deref().unwrap_or_default() != rules {
        let gathered = ClusterRole {
            rules: Some(rules),
            ..observed.role.clone()
        };
        plan.actions
            .push(Action::Replace(Object::ClusterRole(Box::new(gathered))));
    }
    plan
}
