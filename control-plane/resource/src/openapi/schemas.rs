//! The arena's types as OpenAPI v3 schemas.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::kind::{DELETE_OPTIONS, KindSpec};
use crate::schema::{Field, Form, ListType, Shape, Type, Value as FieldType, arena};

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";

/// Every type that the kinds' bodies reach, by definition name.
pub(super) fn reachable(kinds: &[&KindSpec]) -> Map<String, Value> {
    let mut open: Vec<String> = vec![STATUS.to_owned(), DELETE_OPTIONS.root_type.to_owned()];
    for spec in kinds {
        open.push(spec.root_type.to_owned());
        open.push(format!("{}List", spec.root_type));
        open.extend(
            spec.subresources
                .iter()
                .filter_map(|s| s.body())
                .map(|b| b.root_type.to_owned()),
        );
    }
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut schemas = Map::new();
    while let Some(name) = open.pop() {
        let Some(of) = arena().find(&name).filter(|_| !seen.contains(&name)) else {
            continue;
        };
        for field in arena().members(of) {
            if let FieldType::Message(id) = field.value {
                open.push(arena().get(id).name.clone());
            }
        }
        schemas.insert(name.clone(), schema(of));
        seen.insert(name);
    }
    schemas
}

pub(super) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn schema(of: &Type) -> Value {
    match of.form {
        Form::Struct => structure(of),
        Form::Time | Form::MicroTime => json!({"type": "string", "format": "date-time"}),
        Form::Duration => json!({"type": "string"}),
        Form::Quantity => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        Form::IntOrString => {
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        Form::Raw if of.short_name() == "JSON" => json!({}),
        Form::Raw => json!({"type": "object"}),
        Form::Strings => json!({"type": "array", "items": {"type": "string", "default": ""}}),
        Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings => json!({}),
    }
}

fn structure(of: &Type) -> Value {
    let mut properties = Map::new();
    if of.with_type_meta {
        properties.insert("apiVersion".into(), json!({"type": "string"}));
        properties.insert("kind".into(), json!({"type": "string"}));
    }
    let mut required = Vec::new();
    for field in arena().members(of) {
        properties.insert(field.name.into(), property(field));
        if field.required {
            required.push(field.name);
        }
    }
    let mut schema = json!({"type": "object"});
    if !properties.is_empty() {
        schema["properties"] = properties.into();
    }
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    if of.atomic {
        schema["x-kubernetes-map-type"] = "atomic".into();
    }
    if let Some([group, version, kind]) = of.kind {
        schema["x-kubernetes-group-version-kind"] =
            json!([{"group": group, "version": version, "kind": kind}]);
    }
    schema
}

fn property(field: &Field) -> Value {
    let mut property = match field.shape {
        // A reference with siblings must be wrapped in OpenAPI 3.0.
        Shape::One => match field.value {
            FieldType::Message(_) => json!({"allOf": [item(field)]}),
            _ => item(field),
        },
        Shape::List => json!({"type": "array", "items": item(field)}),
        Shape::Map => json!({"type": "object", "additionalProperties": item(field)}),
    };
    match &field.list {
        ListType::Unsaid => {}
        ListType::Atomic => property["x-kubernetes-list-type"] = "atomic".into(),
        ListType::Set => property["x-kubernetes-list-type"] = "set".into(),
        ListType::Map(keys) => {
            property["x-kubernetes-list-type"] = "map".into();
            property["x-kubernetes-list-map-keys"] = json!(keys);
        }
    }
    let patch = field.patch;
    let strategies = [
        (patch.merge, "merge"),
        (patch.retain_keys, "retainKeys"),
        (patch.replace, "replace"),
    ];
    let strategies: Vec<&str> = strategies
        .iter()
        .filter(|(on, _)| *on)
        .map(|(_, name)| *name)
        .collect();
    if !strategies.is_empty() {
        property["x-kubernetes-patch-strategy"] = strategies.join(",").into();
    }
    if let Some(key) = field.merge_key {
        property["x-kubernetes-patch-merge-key"] = key.into();
    }
    if field.atomic {
        property["x-kubernetes-map-type"] = "atomic".into();
    }
    if !field.allowed.is_empty() {
        let target = if field.shape == Shape::One {
            &mut property
        } else {
            &mut property["items"]
        };
        target["enum"] = json!(field.allowed);
    }
    property
}

fn item(field: &Field) -> Value {
    match field.value {
        FieldType::String => json!({"type": "string"}),
        FieldType::Bool => json!({"type": "boolean"}),
        FieldType::Int32 => json!({"type": "integer", "format": "int32"}),
        FieldType::Int64 => json!({"type": "integer", "format": "int64"}),
        FieldType::Double => json!({"type": "number", "format": "double"}),
        FieldType::Bytes => json!({"type": "string", "format": "byte"}),
        FieldType::Message(id) => reference(&arena().get(id).name),
    }
}
