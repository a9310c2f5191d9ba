//! Discovery documents: which groups, versions and resources are served.
//!
//! Two forms: one document per group version, and since Kubernetes 1.26 all in one (`apidiscovery.k8s.io/v2`,
//! KEP-3352).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::kind::{self, KindSpec, Subresource};

/// `/api`. `address` is where this server is reached, `host:port`.
pub fn core_versions(address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// `/apis`.
pub fn groups() -> Value {
    let groups: Vec<Value> = named_groups()
        .iter()
        .map(|group| group_entry(group))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/{group}`.
pub fn group(name: &str) -> Option<Value> {
    let found = named_groups().into_iter().find(|group| *group == name)?;
    let mut entry = group_entry(found);
    entry["kind"] = json!("APIGroup");
    entry["apiVersion"] = json!("v1");
    Some(entry)
}

/// `/api/v1` or `/apis/{group}/{version}`.
pub fn resources(group: &str, version: &str) -> Option<Value> {
    let kinds = kinds_of(group, version);
    let first = kinds.first()?;
    let mut resources = Vec::new();
    for kind in &kinds {
        resources.push(resource_entry(kind));
        resources.extend(
            sorted_subresources(kind)
                .into_iter()
                .map(|sub| subresource_entry(kind, sub)),
        );
    }
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": first.api_version(),
        "resources": resources,
    }))
}

/// `/api` (`core`) or `/apis` as one `APIGroupDiscoveryList` of `apidiscovery.k8s.io` at `version`.
pub fn aggregated(core: bool, version: &str) -> Value {
    let mut items: Vec<Value> = Vec::new();
    for (group, group_version) in kind::groups() {
        if group.is_empty() != core {
            continue;
        }
        let resources: Vec<Value> = kinds_of(group, group_version)
            .into_iter()
            .map(aggregated_resource)
            .collect();
        let entry =
            json!({"version": group_version, "freshness": "Current", "resources": resources});
        match items
            .iter_mut()
            .find(|item| item["metadata"]["name"] == group)
        {
            Some(Value::Object(item)) => {
                if let Some(Value::Array(versions)) = item.get_mut("versions") {
                    versions.push(entry);
                }
            }
            _ => items.push(json!({"metadata": {"name": group}, "versions": [entry]})),
        }
    }
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {},
        "items": items,
    })
}

fn named_groups() -> Vec<&'static str> {
    let mut names: Vec<&str> = kind::groups().into_iter().map(|(group, _)| group).collect();
    names.dedup();
    names.retain(|name| !name.is_empty());
    names
}

fn group_entry(name: &str) -> Value {
    let versions: Vec<Value> = kind::groups()
        .into_iter()
        .filter(|(group, _)| *group == name)
        .map(|(group, version)| json!({"groupVersion": format!("{group}/{version}"), "version": version}))
        .collect();
    let preferred = versions.first().cloned().unwrap_or_default();
    json!({"name": name, "versions": versions, "preferredVersion": preferred})
}

/// By plural, as upstream lists them.
fn kinds_of(group: &str, version: &str) -> Vec<&'static KindSpec> {
    let mut kinds: Vec<&KindSpec> = kind::all()
        .filter(|k| k.group == group && k.version == version)
        .collect();
    kinds.sort_by_key(|k| k.plural);
    kinds
}

fn sorted_subresources(kind: &KindSpec) -> Vec<Subresource> {
    let mut subresources = kind.subresources.to_vec();
    subresources.sort_by_key(|s| s.name());
    subresources
}

fn resource_entry(kind: &KindSpec) -> Value {
    let mut entry = Map::new();
    entry.insert("name".into(), json!(kind.plural));
    entry.insert("singularName".into(), json!(kind.singular));
    entry.insert("namespaced".into(), json!(kind.namespaced));
    entry.insert("kind".into(), json!(kind.kind));
    entry.insert("verbs".into(), json!(kind.verbs));
    insert_names(&mut entry, kind);
    if kind.serves("get") {
        entry.insert(
            "storageVersionHash".into(),
            json!(storage_version_hash(kind)),
        );
    }
    Value::Object(entry)
}

fn subresource_entry(kind: &KindSpec, sub: Subresource) -> Value {
    let mut entry = Map::new();
    entry.insert(
        "name".into(),
        json!(format!("{}/{}", kind.plural, sub.name())),
    );
    entry.insert("singularName".into(), json!(""));
    entry.insert("namespaced".into(), json!(kind.namespaced));
    if let Some(body) = sub.body()
        && (body.group, body.version) != (kind.group, kind.version)
    {
        entry.insert("group".into(), json!(body.group));
        entry.insert("version".into(), json!(body.version));
    }
    entry.insert(
        "kind".into(),
        json!(sub.body().map_or(kind.kind, |b| b.kind)),
    );
    entry.insert("verbs".into(), json!(sub.verbs()));
    Value::Object(entry)
}

fn aggregated_resource(kind: &KindSpec) -> Value {
    let mut entry = Map::new();
    entry.insert("resource".into(), json!(kind.plural));
    entry.insert(
        "responseKind".into(),
        response_kind(kind.group, kind.version, kind.kind),
    );
    let scope = if kind.namespaced {
        "Namespaced"
    } else {
        "Cluster"
    };
    entry.insert("scope".into(), json!(scope));
    entry.insert("singularResource".into(), json!(kind.singular));
    entry.insert("verbs".into(), json!(kind.verbs));
    insert_names(&mut entry, kind);
    let subresources: Vec<Value> = sorted_subresources(kind)
        .into_iter()
        .map(|sub| {
            let response = match sub.body() {
                Some(body) => response_kind(body.group, body.version, body.kind),
                None => response_kind(kind.group, kind.version, kind.kind),
            };
            json!({"subresource": sub.name(), "responseKind": response, "verbs": sub.verbs()})
        })
        .collect();
    if !subresources.is_empty() {
        entry.insert("subresources".into(), Value::Array(subresources));
    }
    Value::Object(entry)
}

fn response_kind(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

fn insert_names(entry: &mut Map<String, Value>, kind: &KindSpec) {
    if !kind.short_names.is_empty() {
        entry.insert("shortNames".into(), json!(kind.short_names));
    }
    if !kind.categories.is_empty() {
        entry.insert("categories".into(), json!(kind.categories));
    }
}

/// Changes when objects are stored under another version (`discovery.StorageVersionHash`).
fn storage_version_hash(kind: &KindSpec) -> String {
    let text = format!("{}/{}/{}", kind.group, kind.version, kind.kind);
    STANDARD.encode(&Sha256::digest(text)[..8])
}
