use serde_json::{Value, json};

use super::{document, index};
use crate::kind;

#[test]
fn the_index_names_a_document_for_every_group_version() {
    let index = index();
    for (group, version) in kind::groups() {
        let path = super::path_of(group, version);
        let url = index["paths"][&path]["serverRelativeURL"].as_str().unwrap();
        assert!(
            url.starts_with(&format!("/openapi/v3/{path}?hash=")),
            "{url}"
        );
    }
    assert_eq!(document("apps/v9"), None);
}

#[test]
fn kubectl_finds_what_it_probes_for() {
    let document = document("apps/v1").unwrap();
    let patch =
        &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
    let parameters: Vec<&Value> = patch["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| &p["name"])
        .collect();
    assert_eq!(parameters, ["dryRun", "fieldManager", "fieldValidation"]);
    assert!(
        patch["requestBody"]["content"]
            .get("application/strategic-merge-patch+json")
            .is_some()
    );
}

#[test]
fn every_reference_of_every_document_resolves() {
    for (group, version) in kind::groups() {
        let name = if group.is_empty() {
            version.to_owned()
        } else {
            format!("{group}/{version}")
        };
        let document = document(&name).unwrap();
        let mut open = vec![&document];
        while let Some(value) = open.pop() {
            match value {
                Value::Object(object) => {
                    if let Some(Value::String(target)) = object.get("$ref") {
                        assert!(document.pointer(&target[1..]).is_some(), "{target}");
                    }
                    open.extend(object.values());
                }
                Value::Array(list) => open.extend(list),
                _ => {}
            }
        }
    }
}

#[test]
fn merge_keys_and_list_types_are_published() {
    let document = document("v1").unwrap();
    let ports =
        &document["components"]["schemas"]["io.k8s.api.core.v1.ServiceSpec"]["properties"]["ports"];
    assert_eq!(
        ports,
        &json!({"type": "array", "items": {"$ref": "#/components/schemas/io.k8s.api.core.v1.ServicePort"},
            "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"],
            "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "port"})
    );
}
