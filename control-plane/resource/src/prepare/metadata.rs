//! The part of `metadata` that belongs to the server.

use serde_json::{Map, Value};

use super::WriteContext;
use crate::error::{ApiError, FieldError};
use crate::kind::KindSpec;

/// A generated name keeps this many bytes of `generateName`; five random characters follow.
const MAX_GENERATED_BASE: usize = 58;
/// Written by the server alone; a client's values are not taken.
const SERVER_OWNED: [&str; 4] = ["uid", "creationTimestamp", "generation", "selfLink"];

pub(super) fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    object["metadata"][name].as_str().unwrap_or_default()
}

/// `metadata` of an object, made when it is missing.
pub(super) fn of(object: &mut Value) -> &mut Map<String, Value> {
    if !object["metadata"].is_object() {
        object["metadata"] = Value::Object(Map::new());
    }
    object["metadata"]
        .as_object_mut()
        .expect("it was just made an object")
}

/// Everything of a new object that the client does not choose.
pub(super) fn for_create(
    kind: &KindSpec,
    namespace: Option<&str>,
    object: &mut Value,
    context: &WriteContext<'_>,
) -> Result<(), ApiError> {
    check_namespace(namespace, object)?;
    check_name(object, context)?;
    if !text(object, "resourceVersion").is_empty() {
        let reason = "resourceVersion should not be set on objects to be created";
        return Err(ApiError::BadRequest(reason.to_owned()));
    }
    let metadata = of(object);
    for name in [
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "managedFields",
        "resourceVersion",
    ] {
        metadata.remove(name);
    }
    SERVER_OWNED
        .iter()
        .for_each(|name| drop(metadata.remove(*name)));
    match namespace {
        Some(namespace) => metadata.insert("namespace".into(), namespace.into()),
        None => metadata.remove("namespace"),
    };
    metadata.insert("uid".into(), context.uid.into());
    let now = crate::codec::instant::time_text(context.now);
    metadata.insert("creationTimestamp".into(), now.into());
    if kind.strategy.has_generation {
        metadata.insert("generation".into(), 1.into());
    }
    if text(object, "name").is_empty() {
        let generated = generate_name(text(object, "generateName"), context.name_suffix);
        if let Some(name) = generated {
            of(object).insert("name".into(), name.into());
        } else if !context.name.is_empty() {
            of(object).insert("name".into(), context.name.into());
        }
    }
    Ok(())
}

fn generate_name(base: &str, suffix: &str) -> Option<String> {
    if base.is_empty() {
        return None;
    }
    let mut end = base.len().min(MAX_GENERATED_BASE);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    Some(format!("{}{suffix}", &base[..end]))
}

/// Everything of an updated object that the client does not choose, and whether it may be updated at all.
pub(super) fn for_update(
    kind: &KindSpec,
    old: &Value,
    new: &mut Value,
    context: &WriteContext<'_>,
) -> Result<(), ApiError> {
    check_namespace(old["metadata"]["namespace"].as_str(), new)?;
    check_name(new, context)?;
    check_versions(kind, old, new)?;
    let metadata = of(new);
    metadata.remove("managedFields");
    for name in
        SERVER_OWNED
            .into_iter()
            .chain(["name", "namespace", "resourceVersion", "generateName"])
    {
        copy(&old["metadata"], metadata, name);
    }
    for name in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        if !metadata.contains_key(name) {
            copy(&old["metadata"], metadata, name);
        }
    }
    Ok(())
}

/// 409 when the client meant another object or another state of it.
fn check_versions(kind: &KindSpec, old: &Value, new: &Value) -> Result<(), ApiError> {
    let name = text(old, "name");
    let uid = text(new, "uid");
    if !uid.is_empty() && uid != text(old, "uid") {
        return Err(ApiError::Conflict {
            resource: kind.resource(),
            name: name.to_owned(),
            message: uid_mismatch(uid, text(old, "uid")),
        });
    }
    let version = text(new, "resourceVersion");
    if version.is_empty() && !kind.strategy.unconditional_update {
        return Err(ApiError::Invalid {
            kind: kind.group_kind(),
            name: name.to_owned(),
            errors: vec![FieldError::invalid(
                "metadata.resourceVersion",
                &0.into(),
                "must be specified for an update",
            )],
        });
    }
    if !version.is_empty() && version != text(old, "resourceVersion") {
        return Err(ApiError::stale(kind.resource(), name));
    }
    Ok(())
}

pub(super) fn uid_mismatch(asked: &str, found: &str) -> String {
    format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {found}")
}

fn check_namespace(namespace: Option<&str>, object: &Value) -> Result<(), ApiError> {
    let said = text(object, "namespace");
    match namespace {
        Some(namespace) if !said.is_empty() && said != namespace => Err(ApiError::BadRequest(
            "the namespace of the provided object does not match the namespace sent on the request"
                .to_owned(),
        )),
        _ => Ok(()),
    }
}

fn check_name(object: &Value, context: &WriteContext<'_>) -> Result<(), ApiError> {
    let said = text(object, "name");
    if !said.is_empty() && !context.name.is_empty() && said != context.name {
        let reason = format!(
            "the name of the object ({said}) does not match the name on the URL ({})",
            context.name
        );
        return Err(ApiError::BadRequest(reason));
    }
    Ok(())
}

/// `to[name]` as in `from`, absent where it is absent there.
pub(super) fn copy(from: &Value, to: &mut Map<String, Value>, name: &str) {
    match from.get(name) {
        Some(value) => to.insert(name.to_owned(), value.clone()),
        None => to.remove(name),
    };
}

/// Nothing holds a deleted object any more.
pub(super) fn may_go(object: &Value) -> bool {
    let metadata = &object["metadata"];
    let deleted = metadata["deletionTimestamp"].is_string();
    let grace = metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    let held = metadata["finalizers"]
        .as_array()
        .is_some_and(|list| !list.is_empty());
    deleted && grace == 0 && !held
}

pub(super) fn bump_generation(object: &mut Value) {
    if let Some(generation) = object["metadata"]["generation"].as_i64() {
        object["metadata"]["generation"] = (generation + 1).into();
    }
}
