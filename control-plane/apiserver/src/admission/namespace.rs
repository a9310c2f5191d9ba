//! NamespaceLifecycle: nothing is created where there is no namespace, or where it is going away.

use portcullis_resource::error::{ApiError, Cause, GroupName};
use portcullis_resource::kind::KindSpec;
use serde_json::Value;

use super::own;
use crate::api::Api;
use crate::object::text;

pub(super) async fn check(
    api: &Api,
    kind: &KindSpec,
    namespace: &str,
    object: &Value,
) -> Result<(), ApiError> {
    let found = api.find(own("", "namespaces"), "", namespace).await?;
    let Some((found, _)) = found else {
        return Err(ApiError::NotFound {
            resource: GroupName::new("", "namespaces"),
            name: namespace.to_owned(),
        });
    };
    if found.pointer("/metadata/deletionTimestamp").is_none() {
        return Ok(());
    }
    Err(ApiError::Forbidden {
        resource: Some(kind.resource()),
        name: text(object, "/metadata/name").to_owned(),
        message: format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        ),
        causes: vec![Cause {
            reason: "NamespaceTerminating".to_owned(),
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".to_owned(),
        }],
    })
}

/// The namespaces that the server itself makes stay.
///
/// # Errors
/// 403 for them.
pub(super) fn check_delete(kind: &KindSpec, name: &str) -> Result<(), ApiError> {
    if kind.kind == "Namespace" && IMMORTAL.contains(&name) {
        let message = "this namespace may not be deleted";
        return Err(ApiError::forbidden(kind.resource(), name, message));
    }
    Ok(())
}

const IMMORTAL: &[&str] = &["default", "kube-system", "kube-public"];
