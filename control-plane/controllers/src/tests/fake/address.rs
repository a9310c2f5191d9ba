//! The kinds served, the paths they are served under, and discovery.

use serde_json::{Value, json};

use super::state::Place;

/// Served kinds: group/version root, plural, kind, namespaced.
pub(super) const KINDS: &[(&str, &str, &str, bool)] = &[
    ("/api/v1", "namespaces", "Namespace", false),
    ("/api/v1", "nodes", "Node", false),
    ("/api/v1", "pods", "Pod", true),
    ("/api/v1", "services", "Service", true),
    ("/api/v1", "serviceaccounts", "ServiceAccount", true),
    ("/api/v1", "configmaps", "ConfigMap", true),
    ("/api/v1", "events", "Event", true),
    ("/apis/apps/v1", "deployments", "Deployment", true),
    ("/apis/apps/v1", "replicasets", "ReplicaSet", true),
    (
        "/apis/discovery.k8s.io/v1",
        "endpointslices",
        "EndpointSlice",
        true,
    ),
    ("/apis/coordination.k8s.io/v1", "leases", "Lease", true),
    (
        "/apis/rbac.authorization.k8s.io/v1",
        "clusterroles",
        "ClusterRole",
        false,
    ),
];
/// A request path taken apart.
pub(super) struct Address {
    pub(super) root: String,
    pub(super) plural: String,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) subresource: Option<String>,
}

impl Address {
    pub(super) fn parse(path: &str) -> Option<Self> {
        let (root, _, _, _) = KINDS
            .iter()
            .find(|row| path.starts_with(&format!("{}/", row.0)))?;
        let mut parts: Vec<&str> = path
            .strip_prefix(root)?
            .trim_start_matches('/')
            .split('/')
            .collect();
        let mut namespace = None;
        if parts.first() == Some(&"namespaces")
            && KINDS.iter().any(|row| Some(&row.1) == parts.get(2))
        {
            namespace = Some(parts[1].to_owned());
            parts.drain(..2);
        }
        let part = |index: usize| parts.get(index).map(|part| (*part).to_owned());
        Some(Self {
            root: (*root).to_owned(),
            plural: part(0)?,
            namespace,
            name: part(1),
            subresource: part(2),
        })
    }

    pub(super) fn place(&self) -> Place {
        Place {
            root: self.root.clone(),
            plural: self.plural.clone(),
            namespace: self.namespace.clone().unwrap_or_default(),
            name: self.name.clone().unwrap_or_default(),
        }
    }

    pub(super) fn covers(&self, place: &Place) -> bool {
        self.root == place.root
            && self.plural == place.plural
            && self
                .namespace
                .as_ref()
                .is_none_or(|namespace| *namespace == place.namespace)
    }
}

pub(super) fn discovery(path: &str) -> Option<Value> {
    let groups: std::collections::BTreeSet<&str> = KINDS
        .iter()
        .filter_map(|row| row.0.strip_prefix("/apis/"))
        .collect();
    match path {
        "/apis" => {
            let groups: Vec<Value> = groups
                .into_iter()
                .map(|group_version| {
                    let (group, version) = group_version
                        .split_once('/')
                        .expect("a group and a version");
                    let version = json!({"groupVersion": group_version, "version": version});
                    json!({"name": group, "versions": [version], "preferredVersion": version})
                })
                .collect();
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        _ if KINDS.iter().any(|row| row.0 == path) => {
            let verbs = [
                "create",
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "update",
                "watch",
            ];
            let resources: Vec<Value> = KINDS
                .iter()
                .filter(|row| row.0 == path)
                .map(|(_, plural, kind, namespaced)| {
                    json!({"name": plural, "singularName": "", "kind": kind, "namespaced": namespaced, "verbs": verbs})
                })
                .collect();
            let version = path
                .trim_start_matches("/apis/")
                .trim_start_matches("/api/");
            Some(
                json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}),
            )
        }
        _ => None,
    }
}
