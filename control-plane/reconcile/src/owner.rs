//! Controller references: who controls an object, and which objects a controller takes or lets go.

use std::sync::Arc;

use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use serde_json::json;

use crate::plan::{Action, Target};
use crate::selector;

/// The one owner that manages the object.
pub fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true))
}

/// Whether `owner` (by UID) controls the object.
pub fn is_controlled_by(metadata: &ObjectMeta, owner: &ObjectMeta) -> bool {
    owner.uid.is_some()
        && controller(metadata).map(|reference| &reference.uid) == owner.uid.as_ref()
}

/// A controller reference to `owner` that also blocks its foreground deletion.
pub fn reference_to<K>(owner: &K) -> OwnerReference
where
    K: k8s_openapi::Resource + Metadata<Ty = ObjectMeta>,
{
    let metadata = owner.metadata();
    OwnerReference {
        api_version: K::API_VERSION.to_owned(),
        kind: K::KIND.to_owned(),
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// What a controller holds after adopting and releasing.
pub struct Claim<K> {
    pub held: Vec<Arc<K>>,
    pub actions: Vec<Action>,
}

/// Takes matching orphans, releases what no longer matches, keeps the rest. An owner under deletion takes nothing.
pub fn claim<O, K>(owner: &O, wanted: &LabelSelector, candidates: &[Arc<K>]) -> Claim<K>
where
    O: k8s_openapi::Resource + Metadata<Ty = ObjectMeta>,
    K: k8s_openapi::Resource + Metadata<Ty = ObjectMeta>,
{
    let mut claim = Claim {
        held: Vec::new(),
        actions: Vec::new(),
    };
    let leaving = owner.metadata().deletion_timestamp.is_some();
    for candidate in candidates {
        let metadata = candidate.metadata();
        if metadata.namespace != owner.metadata().namespace {
            continue;
        }
        let fits = selector::matches(wanted, metadata.labels.as_ref());
        if is_controlled_by(metadata, owner.metadata()) {
            if fits {
                claim.held.push(Arc::clone(candidate));
            } else if !leaving {
                claim.actions.push(set_owners(
                    &**candidate,
                    without(metadata, owner.metadata()),
                ));
            }
        } else if fits
            && !leaving
            && controller(metadata).is_none()
            && metadata.deletion_timestamp.is_none()
        {
            let mut owners = metadata.owner_references.clone().unwrap_or_default();
            owners.push(reference_to(owner));
            claim.actions.push(set_owners(&**candidate, owners));
            claim.held.push(Arc::clone(candidate));
        }
    }
    claim
}

fn without(metadata: &ObjectMeta, owner: &ObjectMeta) -> Vec<OwnerReference> {
    let owners = metadata.owner_references.iter().flatten();
    owners
        .filter(|reference| Some(&reference.uid) != owner.uid.as_ref())
        .cloned()
        .collect()
}

/// The resourceVersion in the patch turns a lost race into a conflict instead of a lost owner.
fn set_owners<K>(object: &K, owners: Vec<OwnerReference>) -> Action
where
    K: k8s_openapi::Resource + Metadata<Ty = ObjectMeta>,
{
    let metadata = object.metadata();
    Action::Patch {
        target: Target::of(object),
        patch: json!({"metadata": {
            "uid": metadata.uid,
            "resourceVersion": metadata.resource_version,
            "ownerReferences": owners,
        }}),
    }
}
