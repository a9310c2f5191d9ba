//! Validation with upstream's paths, reasons and texts (`pkg/apis/*/validation`).
//!
//! Objects come decoded and defaulted, so types are right and zero means absent for fields without a pointer.

mod faults;
mod ingress;
mod labels;
mod metadata;
pub mod names;
mod plain;
mod pod;
mod rbac;
mod secret;
mod service;
#[cfg(test)]
mod tests;
mod workload;

use serde_json::Value;

use crate::error::ApiError;
use crate::kind::{KindSpec, Subresource};
use faults::{Faults, Path};

/// Errors: 422 with a cause for each fault.
pub fn create(kind: &KindSpec, object: &Value) -> Result<(), ApiError> {
    let mut faults = Faults::default();
    metadata::check(kind, object, &mut faults);
    content(kind, object, &mut faults);
    verdict(kind, object, faults)
}

/// Errors: 422 with a cause for each fault, also for changes of what may not change.
pub fn update(
    kind: &KindSpec,
    subresource: Option<Subresource>,
    old: &Value,
    new: &Value,
) -> Result<(), ApiError> {
    let mut faults = Faults::default();
    metadata::check(kind, new, &mut faults);
    metadata::check_update(old, new, &mut faults);
    if subresource.is_none() {
        // What was stored is not judged again by the rules of today.
        if without_metadata(old) != without_metadata(new) {
            content(kind, new, &mut faults);
        }
        changes(kind, old, new, &mut faults);
    }
    if subresource == Some(Subresource::Status) && kind.group.is_empty() && kind.kind == "Service" {
        service::status(new, &mut faults);
    }
    verdict(kind, new, faults)
}

fn content(kind: &KindSpec, object: &Value, faults: &mut Faults) {
    let spec = Path::root("spec");
    match (kind.group, kind.kind) {
        ("", "Pod") => pod::spec(&object["spec"], &spec, faults),
        ("", "Service") => service::check(object, faults),
        ("", "ConfigMap") => plain::config_map(object, faults),
        ("", "Secret") => secret::check(object, faults),
        ("", "Event") => plain::event(object, faults),
        ("", "PodTemplate") => pod::template(&object["template"], &Path::root("template"), faults),
        ("apps", "Deployment") => workload::deployment(&object["spec"], &spec, faults),
        ("apps", "ReplicaSet") => workload::replica_set(&object["spec"], &spec, faults),
        ("networking.k8s.io", "Ingress") => ingress::check(object, faults),
        ("networking.k8s.io", "IngressClass") => ingress::class(object, faults),
        ("discovery.k8s.io", "EndpointSlice") => plain::endpoint_slice(object, faults),
        ("coordination.k8s.io", "Lease") => plain::lease(object, faults),
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => rbac::role(kind, object, faults),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            rbac::binding(kind, object, faults);
        }
        _ => {}
    }
}

fn changes(kind: &KindSpec, old: &Value, new: &Value, faults: &mut Faults) {
    match (kind.group, kind.kind) {
        ("", "Pod") => pod::changes(&old["spec"], &new["spec"], faults),
        ("", "Service") => service::changes(old, new, faults),
        ("", "ConfigMap") => plain::frozen(old, new, &["data", "binaryData"], faults),
        ("", "Secret") => secret::changes(old, new, faults),
        ("apps", "Deployment" | "ReplicaSet") => {
            immutable(
                &old["spec"],
                &new["spec"],
                "selector",
                &Path::root("spec"),
                faults,
            );
        }
        ("networking.k8s.io", "IngressClass") => {
            immutable(
                &old["spec"],
                &new["spec"],
                "controller",
                &Path::root("spec"),
                faults,
            );
        }
        ("discovery.k8s.io", "EndpointSlice") => {
            immutable(old, new, "addressType", &Path::default(), faults);
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            rbac::changes(old, new, faults);
        }
        _ => {}
    }
}

/// The upstream text for a field that stays as it was created.
const IMMUTABLE: &str = "field is immutable";

fn immutable(old: &Value, new: &Value, name: &str, at: &Path, faults: &mut Faults) {
    if old[name] != new[name] {
        faults.invalid(at.child(name), &new[name], IMMUTABLE);
    }
}

fn without_metadata(object: &Value) -> Vec<(&String, &Value)> {
    let members = object.as_object().into_iter().flatten();
    members
        .filter(|(name, _)| !matches!(name.as_str(), "metadata" | "status"))
        .collect()
}

fn verdict(kind: &KindSpec, object: &Value, faults: Faults) -> Result<(), ApiError> {
    let errors = faults.into_errors();
    if errors.is_empty() {
        return Ok(());
    }
    let name = object["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    Err(ApiError::Invalid {
        kind: kind.group_kind(),
        name,
        errors,
    })
}
