//! All rows together, in the order in which discovery lists them.

use super::{KindSpec, apps, auth, core, networking, others, reviews};

/// Every served kind; groups in discovery's priority order, kinds by plural within a group.
pub fn all() -> impl Iterator<Item = &'static KindSpec> {
    GROUPS.iter().flat_map(|rows| rows.iter())
}

/// The row for a path's group, version and plural.
pub fn by_resource(group: &str, version: &str, plural: &str) -> Option<&'static KindSpec> {
    all().find(|k| k.plural == plural && k.version == version && k.group == group)
}

/// The row for an object's group, version and kind.
pub fn by_kind(group: &str, version: &str, kind: &str) -> Option<&'static KindSpec> {
    all().find(|k| k.kind == kind && k.version == version && k.group == group)
}

/// `(group, version)` pairs in priority order; the core group is `("", "v1")`.
pub fn groups() -> Vec<(&'static str, &'static str)> {
    let mut out = Vec::new();
    for kind in all() {
        if !out.contains(&(kind.group, kind.version)) {
            out.push((kind.group, kind.version));
        }
    }
    out
}

const GROUPS: &[&[KindSpec]] = &[
    core::ROWS,
    apps::ROWS,
    others::EVENTS,
    reviews::AUTHENTICATION,
    reviews::AUTHORIZATION,
    networking::NETWORKING,
    auth::RBAC,
    others::SCHEDULING,
    others::COORDINATION,
    networking::DISCOVERY,
];
