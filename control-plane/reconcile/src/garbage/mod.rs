//! Garbage collection by ownerReferences: background, foreground, orphan.
//!
//! [`Graph`] holds the metadata of every object; [`plan`] decides about one. What the graph cannot know (an owner it has
//! never seen) is named by [`suspects`], looked up by the caller, and handed back as [`Presence`].

mod graph;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use crate::plan::{Action, Note, Plan, Propagation, Target};
pub use graph::{Graph, Node};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// What a live look-up of an owner found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Present,
    /// No such object, or one of that name with another UID.
    Absent,
    /// The reference cannot be resolved (unknown kind, namespaced owner of a cluster-scoped object). Nothing is deleted.
    Unresolvable,
}

/// What one object's decision needs.
pub struct Observed<'a> {
    pub graph: &'a Graph,
    pub uid: &'a str,
    /// The looked-up suspects, by owner UID.
    pub presence: &'a BTreeMap<String, Presence>,
}

/// Owners of the object that only the API server can vouch for.
pub fn suspects(graph: &Graph, uid: &str) -> Vec<OwnerReference> {
    let Some(node) = graph.node(uid).filter(|node| !node.deleting) else {
        return Vec::new();
    };
    let unknown = node
        .owners
        .iter()
        .filter(|owner| graph.node(&owner.uid).is_none() && !graph.is_gone(&owner.uid));
    unknown.cloned().collect()
}

/// Decides what becomes of one object.
pub fn plan(observed: &Observed<'_>, _now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let Some(node) = observed.graph.node(observed.uid) else {
        return plan;
    };
    if node.deleting {
        if node.has_finalizer(ORPHAN) {
            plan.actions = orphan_dependents(observed.graph, node);
        } else if node.has_finalizer(FOREGROUND) {
            plan.actions = finish_foreground(observed.graph, node);
        }
        return plan;
    }
    let owners = Owners::classify(observed, node);
    let cluster_scoped = node.target.namespace.is_none();
    for owner in owners.unresolvable.iter().filter(|_| cluster_scoped) {
        let message = format!(
            "ownerRef {} {:?} (uid: {}) does not exist in this scope",
            owner.kind, owner.name, owner.uid
        );
        plan.events.push(Note::warning(
            node.target.clone(),
            "OwnerRefInvalidNamespace",
            message,
        ));
    }
    if owners.solid > 0 || !owners.unresolvable.is_empty() {
        let leaving: Vec<&str> = owners
            .dangling
            .iter()
            .chain(&owners.waiting)
            .map(|owner| owner.uid.as_str())
            .collect();
        if owners.solid > 0 && !leaving.is_empty() {
            plan.actions.push(drop_owners(node, &leaving));
        }
    } else if !owners.waiting.is_empty() && observed.graph.has_dependents(observed.uid) {
        plan.actions
            .push(delete_in_foreground(observed.graph, node));
    } else if !owners.waiting.is_empty() || !owners.dangling.is_empty() {
        plan.actions.push(delete(node, node.own_propagation()));
    }
    plan
}

#[derive(Default)]
struct Owners<'a> {
    solid: usize,
    /// Gone.
    dangling: Vec<&'a OwnerReference>,
    /// Under foreground deletion: they wait for this object.
    waiting: Vec<&'a OwnerReference>,
    unresolvable: Vec<&'a OwnerReference>,
}

impl<'a> Owners<'a> {
    fn classify(observed: &Observed<'a>, node: &'a Node) -> Self {
        let mut owners = Self::default();
        for reference in &node.owners {
            match observed.graph.node(&reference.uid) {
                Some(owner)
                    if owner.target.namespace.is_some() && node.target.namespace.is_none() =>
                {
                    owners.unresolvable.push(reference);
                }
                Some(owner) if !same_scope(owner, node) => owners.dangling.push(reference),
                Some(owner) if owner.deleting && owner.has_finalizer(FOREGROUND) => {
                    owners.waiting.push(reference)
                }
                Some(_) => owners.solid += 1,
                None if observed.graph.is_gone(&reference.uid) => owners.dangling.push(reference),
                None => match observed.presence.get(&reference.uid) {
                    Some(Presence::Absent) => owners.dangling.push(reference),
                    Some(Presence::Unresolvable) => owners.unresolvable.push(reference),
                    // Not looked up counts as present: deleting is the one mistake that cannot be undone.
                    Some(Presence::Present) | None => owners.solid += 1,
                },
            }
        }
        owners
    }
}

/// An owner is cluster-scoped or lives in the dependent's namespace; otherwise the reference points at nothing.
fn same_scope(owner: &Node, dependent: &Node) -> bool {
    owner.target.namespace.is_none() || owner.target.namespace == dependent.target.namespace
}

fn orphan_dependents(graph: &Graph, node: &Node) -> Vec<Action> {
    let uid = node.uid();
    let dependents: Vec<&Node> = graph.dependents(uid).collect();
    if dependents.is_empty() {
        return vec![drop_finalizer(node, ORPHAN)];
    }
    dependents
        .into_iter()
        .map(|dependent| drop_owners(dependent, &[uid]))
        .collect()
}

fn finish_foreground(graph: &Graph, node: &Node) -> Vec<Action> {
    let uid = node.uid();
    let blocked = graph.dependents(uid).any(|dependent| dependent.blocks(uid));
    if blocked {
        Vec::new()
    } else {
        vec![drop_finalizer(node, FOREGROUND)]
    }
}

/// In a cycle each waits for the other; letting go of the own owners first breaks it.
fn delete_in_foreground(graph: &Graph, node: &Node) -> Action {
    let cyclic = graph
        .dependents(node.uid())
        .any(|dependent| dependent.deleting && dependent.has_finalizer(FOREGROUND));
    if !cyclic
        || node
            .owners
            .iter()
            .all(|owner| owner.block_owner_deletion != Some(true))
    {
        return delete(node, Propagation::Foreground);
    }
    let unblocked = node.owners.iter().cloned();
    let unblocked = unblocked.map(|owner| OwnerReference {
        block_owner_deletion: Some(false),
        ..owner
    });
    set_owners(node, unblocked.collect())
}

fn delete(node: &Node, propagation: Propagation) -> Action {
    let resource_version = node.resource_version.clone();
    Action::Delete {
        target: node.target.clone(),
        propagation,
        resource_version,
        force: false,
    }
}

fn drop_owners(node: &Node, leaving: &[&str]) -> Action {
    let staying = node
        .owners
        .iter()
        .filter(|owner| !leaving.contains(&owner.uid.as_str()));
    set_owners(node, staying.cloned().collect())
}

fn set_owners(node: &Node, owners: Vec<OwnerReference>) -> Action {
    Action::Patch {
        target: node.target.clone(),
        patch: json!({"metadata": {
            "uid": node.uid(),
            "resourceVersion": node.resource_version,
            "ownerReferences": owners,
        }}),
    }
}

fn drop_finalizer(node: &Node, name: &str) -> Action {
    let others: Vec<&String> = node
        .finalizers
        .iter()
        .filter(|finalizer| *finalizer != name)
        .collect();
    Action::Patch {
        target: Target::clone(&node.target),
        patch: json!({"metadata": {
            "uid": node.uid(),
            "resourceVersion": node.resource_version,
            "finalizers": others,
        }}),
    }
}
