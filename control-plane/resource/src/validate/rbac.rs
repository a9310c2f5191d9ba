//! RBAC kinds (`pkg/apis/rbac/validation`).

use serde_json::Value;

use super::faults::{Faults, Path, list, text};
use super::{labels, names};
use crate::kind::KindSpec;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn role(kind: &KindSpec, role: &Value, faults: &mut Faults) {
    for (index, rule) in list(role, "rules").iter().enumerate() {
        let at = Path::root("rules").index(index);
        if list(rule, "verbs").is_empty() {
            faults.required(at.child("verbs"), "verbs must contain at least one value");
        }
        if !list(rule, "nonResourceURLs").is_empty() {
            let here = at.child("nonResourceURLs");
            if kind.namespaced {
                let detail = "namespaced rules cannot apply to non-resource URLs";
                faults.invalid(here.clone(), &rule["nonResourceURLs"], detail);
            }
            if !list(rule, "apiGroups").is_empty() || !list(rule, "resources").is_empty() {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                faults.invalid(here, &rule["nonResourceURLs"], detail);
            }
            continue;
        }
        for (name, detail) in [
            (
                "apiGroups",
                "resource rules must supply at least one api group",
            ),
            (
                "resources",
                "resource rules must supply at least one resource",
            ),
        ] {
            if list(rule, name).is_empty() {
                faults.required(at.child(name), detail);
            }
        }
    }
    let selectors = list(&role["aggregationRule"], "clusterRoleSelectors");
    for (index, selector) in selectors.iter().enumerate() {
        let at = Path::root("aggregationRule")
            .child("clusterRoleSelectors")
            .index(index);
        labels::selector(selector, &at, faults);
    }
}

pub(super) fn binding(kind: &KindSpec, binding: &Value, faults: &mut Faults) {
    let reference = &binding["roleRef"];
    let at = Path::root("roleRef");
    if text(reference, "apiGroup") != GROUP {
        faults.not_supported(at.child("apiGroup"), &reference["apiGroup"], &[GROUP]);
    }
    let kinds: &[&str] = if kind.namespaced {
        &["Role", "ClusterRole"]
    } else {
        &["ClusterRole"]
    };
    if !kinds.contains(&text(reference, "kind")) {
        faults.not_supported(at.child("kind"), &reference["kind"], kinds);
    }
    match text(reference, "name") {
        "" => faults.required(at.child("name"), ""),
        name => faults.each(&at.child("name"), name, names::path_segment(name)),
    }
    for (index, subject) in list(binding, "subjects").iter().enumerate() {
        self::subject(kind, subject, &Path::root("subjects").index(index), faults);
    }
}

pub(super) fn changes(old: &Value, new: &Value, faults: &mut Faults) {
    if old["roleRef"] != new["roleRef"] {
        faults.invalid(
            Path::root("roleRef"),
            &new["roleRef"],
            "cannot change roleRef",
        );
    }
}

fn subject(kind: &KindSpec, subject: &Value, at: &Path, faults: &mut Faults) {
    let name = text(subject, "name");
    if name.is_empty() {
        faults.required(at.child("name"), "");
    }
    let group = match text(subject, "kind") {
        "ServiceAccount" => {
            if !name.is_empty() {
                faults.each(&at.child("name"), name, names::dns_subdomain(name));
            }
            if !kind.namespaced && text(subject, "namespace").is_empty() {
                faults.required(at.child("namespace"), "");
            }
            ""
        }
        "User" | "Group" => GROUP,
        _ => {
            let supported = ["ServiceAccount", "User", "Group"];
            return faults.not_supported(at.child("kind"), &subject["kind"], &supported);
        }
    };
    if text(subject, "apiGroup") != group {
        faults.not_supported(at.child("apiGroup"), &subject["apiGroup"], &[group]);
    }
}
