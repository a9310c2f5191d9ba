//! The dependency graph: who owns whom, kept small, by UID.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::{FOREGROUND, ORPHAN};
use crate::plan::{Propagation, Resource, Target};

/// UIDs remembered as gone, to spare look-ups; UIDs are never used again.
const REMEMBERED: usize = 1_000;

/// What the graph keeps of one object.
#[derive(Clone, Debug)]
pub struct Node {
    pub target: Target,
    pub resource_version: Option<String>,
    pub owners: Vec<OwnerReference>,
    pub finalizers: Vec<String>,
    pub deleting: bool,
}

impl Node {
    pub(super) fn uid(&self) -> &str {
        self.target.uid.as_deref().unwrap_or_default()
    }

    pub(super) fn has_finalizer(&self, name: &str) -> bool {
        self.finalizers.iter().any(|finalizer| finalizer == name)
    }

    /// Whether the owner's foreground deletion waits for this object.
    pub(super) fn blocks(&self, owner: &str) -> bool {
        let blocking = self
            .owners
            .iter()
            .filter(|reference| reference.block_owner_deletion == Some(true));
        blocking.into_iter().any(|reference| reference.uid == owner)
    }

    pub(super) fn own_propagation(&self) -> Propagation {
        if self.has_finalizer(ORPHAN) {
            Propagation::Orphan
        } else if self.has_finalizer(FOREGROUND) {
            Propagation::Foreground
        } else {
            Propagation::Background
        }
    }
}

/// Every object's metadata and the edges between them.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: HashMap<String, Node>,
    dependents: HashMap<String, BTreeSet<String>>,
    gone: HashSet<String>,
    gone_in_order: VecDeque<String>,
}

impl Graph {
    pub fn node(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// Whether an object of that UID was seen to disappear.
    pub fn is_gone(&self, uid: &str) -> bool {
        self.gone.contains(uid)
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(super) fn dependents(&self, uid: &str) -> impl Iterator<Item = &Node> {
        self.dependents
            .get(uid)
            .into_iter()
            .flatten()
            .filter_map(|dependent| self.nodes.get(dependent))
    }

    pub(super) fn has_dependents(&self, uid: &str) -> bool {
        self.dependents
            .get(uid)
            .is_some_and(|dependents| !dependents.is_empty())
    }

    /// Records an object. Returns the UIDs to decide about.
    pub fn apply(&mut self, resource: &Resource, metadata: &ObjectMeta) -> BTreeSet<String> {
        let Some(uid) = metadata.uid.clone() else {
            return BTreeSet::new();
        };
        let node = Node {
            target: Target::from_metadata(resource.clone(), metadata),
            resource_version: metadata.resource_version.clone(),
            owners: metadata.owner_references.clone().unwrap_or_default(),
            finalizers: metadata.finalizers.clone().unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
        };
        let before = self.nodes.remove(&uid);
        let mut affected = BTreeSet::new();
        for owner in before.iter().flat_map(|node| &node.owners) {
            self.unlink(&owner.uid, &uid);
            affected.extend(self.waiting(&owner.uid));
        }
        for owner in &node.owners {
            self.dependents
                .entry(owner.uid.clone())
                .or_default()
                .insert(uid.clone());
        }
        if node.deleting && (node.has_finalizer(FOREGROUND) || node.has_finalizer(ORPHAN)) {
            affected.insert(uid.clone());
            if before.as_ref().is_none_or(|before| !before.deleting) {
                affected.extend(self.dependents.get(&uid).into_iter().flatten().cloned());
            }
        }
        let doubtful = |owner: &OwnerReference| match self.nodes.get(&owner.uid) {
            Some(owner) => owner.deleting || owner.target.namespace != node.target.namespace,
            None => true,
        };
        if !node.deleting && node.owners.iter().any(doubtful) {
            affected.insert(uid.clone());
        }
        self.nodes.insert(uid, node);
        affected
    }

    /// Records that an object is gone. Returns the UIDs to decide about.
    pub fn remove(&mut self, uid: &str) -> BTreeSet<String> {
        let mut affected: BTreeSet<String> = self.dependents.get(uid).cloned().unwrap_or_default();
        self.remember_gone(uid);
        let Some(node) = self.nodes.remove(uid) else {
            return affected;
        };
        for owner in &node.owners {
            self.unlink(&owner.uid, uid);
            affected.extend(self.waiting(&owner.uid));
        }
        affected
    }

    /// The owner, if it waits for its dependents to go or to be let go.
    fn waiting(&self, uid: &str) -> Option<String> {
        let owner = self.nodes.get(uid)?;
        let waits =
            owner.deleting && (owner.has_finalizer(FOREGROUND) || owner.has_finalizer(ORPHAN));
        waits.then(|| uid.to_owned())
    }

    fn unlink(&mut self, owner: &str, dependent: &str) {
        if let Some(dependents) = self.dependents.get_mut(owner) {
            dependents.remove(dependent);
            if dependents.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }

    fn remember_gone(&mut self, uid: &str) {
        if self.gone.insert(uid.to_owned()) {
            self.gone_in_order.push_back(uid.to_owned());
        }
        if self.gone_in_order.len() > REMEMBERED
            && let Some(forgotten) = self.gone_in_order.pop_front()
        {
            self.gone.remove(&forgotten);
        }
    }
}
