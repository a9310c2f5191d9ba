//! Paths and their operations, one set per kind.

use serde_json::{Map, Value, json};

use super::schemas::reference;
use crate::kind::{DELETE_OPTIONS, KindSpec, Subresource};

const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/vnd.kubernetes.protobuf",
];

pub(super) fn add(paths: &mut Map<String, Value>, base: &str, spec: &KindSpec) {
    let collection = if spec.namespaced {
        format!("/{base}/namespaces/{{namespace}}/{}", spec.plural)
    } else {
        format!("/{base}/{}", spec.plural)
    };
    let list = format!("{}List", spec.root_type);
    let mut many = common(spec, false);
    if spec.serves("create") {
        many["post"] = operation(spec, "post", spec.root_type, &WRITE);
        many["post"]["requestBody"] = body("*/*", reference(spec.root_type));
    }
    if !spec.is_stored() {
        paths.insert(collection, many);
        return;
    }
    many["get"] = operation(spec, "list", &list, &[]);
    let one_path = format!("{collection}/{{name}}");
    let mut one = common(spec, true);
    one["get"] = operation(spec, "get", spec.root_type, &[]);
    if spec.serves("update") {
        add_writes(&mut one, spec, spec.root_type);
    }
    if spec.serves("delete") {
        one["delete"] = operation(
            spec,
            "delete",
            "io.k8s.apimachinery.pkg.apis.meta.v1.Status",
            &WRITE[..1],
        );
        one["delete"]["requestBody"] = body("*/*", reference(DELETE_OPTIONS.root_type));
    }
    for subresource in spec.subresources {
        add_subresource(paths, &one_path, spec, *subresource);
    }
    if spec.namespaced {
        let everywhere = json!({"get": operation(spec, "list", &list, &[])});
        paths.insert(format!("/{base}/{}", spec.plural), everywhere);
    }
    paths.insert(collection, many);
    paths.insert(one_path, one);
}

fn add_subresource(
    paths: &mut Map<String, Value>,
    one_path: &str,
    spec: &KindSpec,
    subresource: Subresource,
) {
    let root_type = subresource
        .body()
        .map_or(spec.root_type, |body| body.root_type);
    let mut entry = common(spec, true);
    for verb in subresource.verbs() {
        match *verb {
            "get" => entry["get"] = operation(spec, "get", root_type, &[]),
            "create" => {
                entry["post"] = operation(spec, "post", root_type, &WRITE);
                entry["post"]["requestBody"] = body("*/*", reference(root_type));
            }
            "update" => add_writes(&mut entry, spec, root_type),
            _ => {}
        }
    }
    if let Some(body) = subresource.body() {
        let kind = json!({"group": body.group, "version": body.version, "kind": body.kind});
        for operation in ["get", "put", "patch", "post"] {
            if entry.get(operation).is_some() {
                entry[operation]["x-kubernetes-group-version-kind"] = kind.clone();
            }
        }
    }
    paths.insert(format!("{one_path}/{}", subresource.name()), entry);
}

fn add_writes(entry: &mut Value, spec: &KindSpec, root_type: &str) {
    entry["put"] = operation(spec, "put", root_type, &WRITE);
    entry["put"]["requestBody"] = body("*/*", reference(root_type));
    entry["patch"] = operation(spec, "patch", root_type, &WRITE);
    let patch = json!({"type": "object"});
    let contents: Map<String, Value> = PATCHES
        .iter()
        .map(|media| ((*media).to_owned(), json!({"schema": patch})))
        .collect();
    entry["patch"]["requestBody"] = json!({"content": contents, "required": true});
}

/// Query parameters of writes, the first also of deletes.
const WRITE: [&str; 3] = ["dryRun", "fieldManager", "fieldValidation"];

fn operation(spec: &KindSpec, action: &str, answer: &str, parameters: &[&str]) -> Value {
    let parameters: Vec<Value> = parameters
        .iter()
        .map(|name| parameter(name, "query"))
        .collect();
    json!({
        "operationId": format!("{action}{}", spec.kind),
        "tags": [spec.group],
        "parameters": parameters,
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": reference(answer)}}}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {"group": spec.group, "version": spec.version, "kind": spec.kind},
    })
}

fn common(spec: &KindSpec, named: bool) -> Value {
    let mut parameters = Vec::new();
    if named {
        parameters.push(parameter("name", "path"));
    }
    if spec.namespaced {
        parameters.push(parameter("namespace", "path"));
    }
    parameters.push(parameter("pretty", "query"));
    json!({ "parameters": parameters })
}

fn parameter(name: &str, place: &str) -> Value {
    let mut parameter =
        json!({"name": name, "in": place, "schema": {"type": "string", "uniqueItems": true}});
    if place == "path" {
        parameter["required"] = true.into();
    }
    parameter
}

fn body(media: &str, schema: Value) -> Value {
    json!({"content": {media: {"schema": schema}}})
}
