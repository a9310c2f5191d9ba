//! OpenAPI v3 as `/openapi/v3` serves it, made from the arena and the kinds.
//!
//! kubectl reads three things: that PATCH of a kind takes `fieldValidation` and `dryRun`, that it takes strategic
//! merge patches, and the schemas with their merge keys (for apply, edit and explain).

mod operations;
mod schemas;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::kind;

/// `/openapi/v3`: where each group version's document stands.
pub fn index() -> Value {
    let mut paths = Map::new();
    for (group, version) in kind::groups() {
        let path = path_of(group, version);
        let document = document_of(group, version).to_string();
        // The hash lets clients keep a document for ever.
        let hash: String = Sha256::digest(document.as_bytes())
            .iter()
            .take(16)
            .map(|b| format!("{b:02X}"))
            .collect();
        paths.insert(
            path.clone(),
            json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")}),
        );
    }
    json!({ "paths": paths })
}

/// The document of `v1` or `apps/v1`; `None` for a group version that is not served.
pub fn document(group_version: &str) -> Option<Value> {
    let (group, version) = group_version.split_once('/').unwrap_or(("", group_version));
    let served = kind::groups()
        .into_iter()
        .any(|(g, v)| g == group && v == version);
    served.then(|| document_of(group, version))
}

fn document_of(group: &str, version: &str) -> Value {
    let kinds: Vec<_> = kind::all()
        .filter(|spec| spec.group == group && spec.version == version)
        .collect();
    let mut paths = Map::new();
    for spec in &kinds {
        operations::add(&mut paths, &path_of(group, version), spec);
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths,
        "components": {"schemas": schemas::reachable(&kinds)},
    })
}

fn path_of(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}
