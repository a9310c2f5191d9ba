//! The scale subresource: `autoscaling/v1` Scale over `spec.replicas`.

use serde_json::{Value, json};

use super::{Updated, WriteContext, metadata, update::update};
use crate::error::{ApiError, FieldError, GroupName};
use crate::kind::KindSpec;

/// The `autoscaling/v1` Scale of a Deployment, ReplicaSet, StatefulSet or ReplicationController.
pub fn scale_of(kind: &KindSpec, object: &Value) -> Result<Value, ApiError> {
    if !object["spec"].is_object() {
        return Err(ApiError::Internal(format!(
            "{} has no spec to scale",
            kind.kind
        )));
    }
    let from = &object["metadata"];
    let mut scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {},
        "spec": {}, "status": {"replicas": object["status"]["replicas"].as_i64().unwrap_or(0)}});
    for name in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        metadata::copy(from, metadata::of(&mut scale), name);
    }
    if let Some(replicas) = object["spec"]["replicas"]
        .as_i64()
        .filter(|replicas| *replicas != 0)
    {
        scale["spec"]["replicas"] = replicas.into();
    }
    let selector = selector_text(&object["spec"]["selector"]);
    if !selector.is_empty() {
        scale["status"]["selector"] = selector.into();
    }
    Ok(scale)
}

/// PUT of a Scale, or of what a patch made of [`scale_of`]; the new Scale is `scale_of` the result.
///
/// Errors: 422 for negative replicas, 409 as in update.
pub fn update_scale(
    kind: &KindSpec,
    old: &Value,
    scale: &Value,
    context: &WriteContext<'_>,
) -> Result<Updated, ApiError> {
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
    if replicas < 0 {
        let detail = "must be greater than or equal to 0";
        return Err(ApiError::Invalid {
            kind: GroupName::new("autoscaling", "Scale"),
            name: metadata::text(old, "name").to_owned(),
            errors: vec![FieldError::invalid(
                "spec.replicas",
                &replicas.into(),
                detail,
            )],
        });
    }
    let mut new = old.clone();
    new["spec"]["replicas"] = replicas.into();
    let said = &scale["metadata"];
    for name in ["uid", "resourceVersion"] {
        metadata::copy(said, metadata::of(&mut new), name);
    }
    update(kind, None, old, new, context)
}

/// A label selector as list requests write it.
fn selector_text(selector: &Value) -> String {
    let mut terms: Vec<(String, String)> = Vec::new();
    for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        terms.push((
            key.clone(),
            format!("{key}={}", value.as_str().unwrap_or_default()),
        ));
    }
    for expression in selector["matchExpressions"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let key = expression["key"].as_str().unwrap_or_default();
        let mut values: Vec<&str> = expression["values"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        values.sort_unstable();
        let values = values.join(",");
        let text = match expression["operator"].as_str() {
            Some("In") => format!("{key} in ({values})"),
            Some("NotIn") => format!("{key} notin ({values})"),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key.to_owned(),
        };
        terms.push((key.to_owned(), text));
    }
    terms.sort();
    let texts: Vec<String> = terms.into_iter().map(|(_, text)| text).collect();
    texts.join(",")
}
