//! Update of an object or one of its subresources, and pods' binding.

use serde_json::{Value, json};

use super::{Updated, WriteContext, admit, metadata, service};
use crate::codec::instant::time_text;
use crate::default;
use crate::error::{ApiError, FieldError};
use crate::kind::{KindSpec, Subresource};
use crate::validate;

/// `old` is the stored object with its resourceVersion; `new` is what the client sent or a patch made.
///
/// Errors: 409 for another version or uid than the stored one, 400 and 422 as in create.
pub fn update(
    kind: &KindSpec,
    subresource: Option<Subresource>,
    old: &Value,
    mut new: Value,
    context: &WriteContext<'_>,
) -> Result<Updated, ApiError> {
    metadata::for_update(kind, old, &mut new, context)?;
    default::apply(kind, &mut new);
    match subresource {
        Some(Subresource::Status) => status_only(kind, old, &mut new),
        Some(Subresource::Finalize) => finalizers_only(old, &mut new),
        _ => all_but_status(kind, old, &mut new, context),
    }
    validate::update(kind, subresource, old, &new)?;
    Ok(decide(kind, old, new))
}

fn status_only(kind: &KindSpec, old: &Value, new: &mut Value) {
    let members: Vec<String> = members(old).chain(members(new)).collect();
    for name in members
        .iter()
        .filter(|name| *name != "status" && *name != "metadata")
    {
        match old.get(name) {
            Some(value) => new[name] = value.clone(),
            None => drop(new.as_object_mut().and_then(|new| new.remove(name))),
        }
    }
    let kept: &[&str] = match (kind.group, kind.kind) {
        ("apps", _) => &["labels"],
        ("", "Pod") => &["ownerReferences", "deletionTimestamp"],
        _ => &[],
    };
    kept.iter()
        .for_each(|name| metadata::copy(&old["metadata"], metadata::of(new), name));
}

/// `namespaces/NAME/finalize`.
fn finalizers_only(old: &Value, new: &mut Value) {
    let finalizers = new["spec"].get("finalizers").cloned();
    let version = new["metadata"]["resourceVersion"].take();
    *new = old.clone();
    new["metadata"]["resourceVersion"] = version;
    match finalizers {
        Some(finalizers) => new["spec"]["finalizers"] = finalizers,
        None => drop(
            new["spec"]
                .as_object_mut()
                .and_then(|spec| spec.remove("finalizers")),
        ),
    }
}

fn all_but_status(kind: &KindSpec, old: &Value, new: &mut Value, context: &WriteContext<'_>) {
    if kind.strategy.has_status
        && let Some(object) = new.as_object_mut()
    {
        metadata::copy(old, object, "status");
    }
    match (kind.group, kind.kind) {
        ("", "Service") => service::assign(Some(old), new, &context.allocated),
        // Only the finalize subresource changes them.
        ("", "Namespace") => new["spec"] = old["spec"].clone(),
        _ => {}
    }
    admit::on_update(kind, new);
    let annotations_count = kind.group == "apps" && kind.kind == "Deployment";
    let changed = members(old)
        .chain(members(new))
        .filter(|name| !matches!(name.as_str(), "metadata" | "status" | "apiVersion" | "kind"))
        .any(|name| old.get(&name) != new.get(&name))
        || (annotations_count
            && old["metadata"].get("annotations") != new["metadata"].get("annotations"));
    if changed && kind.strategy.has_generation {
        metadata::bump_generation(new);
    }
}

fn members(object: &Value) -> impl Iterator<Item = String> {
    object
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name.clone())
}

/// What an accepted update comes to.
pub(super) fn decide(kind: &KindSpec, old: &Value, new: Value) -> Updated {
    let emptying = kind.group.is_empty()
        && kind.kind == "Namespace"
        && new["spec"]["finalizers"]
            .as_array()
            .is_some_and(|list| !list.is_empty());
    if metadata::may_go(&new) && !emptying {
        Updated::Remove(new)
    } else if new == *old {
        Updated::Unchanged(new)
    } else {
        Updated::Write(new)
    }
}

/// `pods/binding`: sets `spec.nodeName` once.
///
/// Errors: 409 for a pod that has a node or is being deleted, 422 without a target.
pub fn bind(pod: &Value, binding: &Value, context: &WriteContext<'_>) -> Result<Updated, ApiError> {
    let name = metadata::text(pod, "name");
    let conflict = |message: String| ApiError::Conflict {
        resource: crate::error::GroupName::new("", "pods/binding"),
        name: name.to_owned(),
        message,
    };
    let target = &binding["target"];
    let node = target["name"].as_str().unwrap_or_default();
    let kind = target["kind"].as_str().unwrap_or_default();
    let mut errors = Vec::new();
    if !matches!(kind, "" | "Node") {
        errors.push(FieldError::not_supported(
            "target.kind",
            &target["kind"],
            &["Node", "<empty>"],
        ));
    }
    if node.is_empty() {
        errors.push(FieldError::required("target.name", ""));
    }
    if !errors.is_empty() {
        let kind = crate::error::GroupName::new("", "Binding");
        return Err(ApiError::Invalid {
            kind,
            name: name.to_owned(),
            errors,
        });
    }
    let uid = metadata::text(binding, "uid");
    if !uid.is_empty() && uid != metadata::text(pod, "uid") {
        return Err(conflict(metadata::uid_mismatch(
            uid,
            metadata::text(pod, "uid"),
        )));
    }
    if pod["metadata"]["deletionTimestamp"].is_string() {
        return Err(conflict(format!(
            "pod {name} is being deleted, cannot be assigned to a host"
        )));
    }
    let assigned = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if !assigned.is_empty() {
        return Err(conflict(format!(
            "pod {name} is already assigned to node {assigned:?}"
        )));
    }
    let mut bound = pod.clone();
    bound["spec"]["nodeName"] = node.into();
    for (key, value) in binding["metadata"]["annotations"]
        .as_object()
        .into_iter()
        .flatten()
    {
        bound["metadata"]["annotations"][key] = value.clone();
    }
    let mut conditions = bound["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    conditions.retain(|condition| condition["type"] != "PodScheduled");
    conditions.push(json!({"type": "PodScheduled", "status": "True",
        "lastTransitionTime": time_text(context.now)}));
    bound["status"]["conditions"] = conditions.into();
    Ok(Updated::Write(bound))
}
