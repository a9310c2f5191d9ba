//! The controllers: what wakes each, and what each observes before it plans.

pub(crate) mod clusterrole;
pub(crate) mod deployment;
pub(crate) mod endpointslice;
pub(crate) mod loadbalancer;
pub(crate) mod namespace;
pub(crate) mod node;
pub(crate) mod podgc;
pub(crate) mod replicaset;
pub(crate) mod rootca;
pub(crate) mod serviceaccount;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portcullis_reconcile::owner;

use crate::informer::Key;

/// The key of the object's controller, if that is of the given kind.
fn controller_key(metadata: &ObjectMeta, kind: &str) -> Option<Key> {
    let reference = owner::controller(metadata).filter(|reference| reference.kind == kind)?;
    Some(Key::new(
        metadata.namespace.clone().unwrap_or_default(),
        reference.name.clone(),
    ))
}
