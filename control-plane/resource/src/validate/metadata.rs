//! `metadata` (`apimachinery/pkg/api/validation/objectmeta.go`).

use serde_json::Value;

use super::faults::{Faults, Path, list, text};
use super::{IMMUTABLE, labels, names};
use crate::kind::{KindSpec, NameRule};

const MAX_ANNOTATIONS_BYTES: usize = 256 << 10;

pub(super) fn check(kind: &KindSpec, object: &Value, faults: &mut Faults) {
    let metadata = &object["metadata"];
    let at = Path::root("metadata");
    let rule = match kind.strategy.name_rule {
        NameRule::Subdomain => names::dns_subdomain,
        NameRule::Label => names::dns_label,
        NameRule::ServiceLabel => names::dns_1035_label,
        NameRule::PathSegment => names::path_segment,
    };
    let base = text(metadata, "generateName");
    if !base.is_empty() {
        // Random characters follow: a dash at the end is no fault.
        let masked = base
            .strip_suffix('-')
            .filter(|rest| !rest.is_empty())
            .unwrap_or(base);
        faults.each(&at.child("generateName"), base, rule(masked));
    }
    match text(metadata, "name") {
        "" => faults.required(at.child("name"), "name or generateName is required"),
        name => faults.each(&at.child("name"), name, rule(name)),
    }
    if kind.namespaced {
        let namespace = text(metadata, "namespace");
        if namespace.is_empty() {
            faults.required(at.child("namespace"), "");
        } else {
            faults.each(
                &at.child("namespace"),
                namespace,
                names::dns_label(namespace),
            );
        }
    }
    labels::labels(&metadata["labels"], &at.child("labels"), faults);
    annotations(&metadata["annotations"], &at.child("annotations"), faults);
    owners(
        list(metadata, "ownerReferences"),
        &at.child("ownerReferences"),
        faults,
    );
    for finalizer in list(metadata, "finalizers")
        .iter()
        .filter_map(Value::as_str)
    {
        faults.each(
            &at.child("finalizers"),
            finalizer,
            names::label_key(finalizer),
        );
    }
}

pub(super) fn check_update(old: &Value, new: &Value, faults: &mut Faults) {
    let (old, new) = (&old["metadata"], &new["metadata"]);
    let at = Path::root("metadata");
    for name in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        if old[name] != new[name] {
            faults.invalid(at.child(name), &new[name], IMMUTABLE);
        }
    }
    if old["deletionTimestamp"].is_string() {
        let before = list(old, "finalizers");
        let fresh: Vec<String> = list(new, "finalizers")
            .iter()
            .filter(|finalizer| !before.contains(finalizer))
            .map(|finalizer| finalizer.to_string())
            .collect();
        if !fresh.is_empty() {
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                fresh.join(", ")
            );
            faults.forbidden(at.child("finalizers"), &detail);
        }
    }
}

fn annotations(annotations: &Value, at: &Path, faults: &mut Faults) {
    let mut bytes = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        bytes += key.len() + value.as_str().map_or(0, str::len);
        faults.each(at, key, names::label_key(&key.to_lowercase()));
    }
    if bytes > MAX_ANNOTATIONS_BYTES {
        faults.too_long(at.clone(), MAX_ANNOTATIONS_BYTES);
    }
}

fn owners(owners: &[Value], at: &Path, faults: &mut Faults) {
    let mut controller: Option<String> = None;
    for (index, owner) in owners.iter().enumerate() {
        let here = at.index(index);
        for name in ["apiVersion", "kind", "name", "uid"] {
            if text(owner, name).is_empty() {
                faults.required(here.child(name), "must not be empty");
            }
        }
        if owner["controller"] != true {
            continue;
        }
        let this = format!("{}/{}", text(owner, "kind"), text(owner, "name"));
        if let Some(first) = &controller {
            let detail = format!(
                "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
            );
            faults.invalid(at.clone(), &owners.into(), detail);
        } else {
            controller = Some(this);
        }
    }
}
