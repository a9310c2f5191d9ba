//! Admission that has to look other objects up. What needs no look-up is part of preparing (`portcullis-resource`).

mod ingress_class;
mod namespace;
mod priority;
mod service_account;

use portcullis_resource::error::ApiError;
use portcullis_resource::kind::{self, KindSpec};
use serde_json::Value;

use crate::api::Api;

pub(crate) use ingress_class::default_ingress_class;

/// Upstream's order: NamespaceLifecycle, ServiceAccount, Priority.
pub(crate) async fn on_create(
    api: &Api,
    kind: &'static KindSpec,
    namespace: &str,
    object: &mut Value,
) -> Result<(), ApiError> {
    if kind.namespaced {
        namespace::check(api, kind, namespace, object).await?;
    }
    if kind.kind == "Pod" {
        service_account::apply(api, namespace, object).await?;
        priority::apply(api, object).await?;
    }
    Ok(())
}

/// # Errors
/// 403 for what must not be deleted.
pub(crate) fn on_delete(kind: &KindSpec, name: &str) -> Result<(), ApiError> {
    namespace::check_delete(kind, name)
}

/// The row of a kind that admission itself relies on.
fn own(group: &str, plural: &str) -> &'static KindSpec {
    kind::by_resource(group, "v1", plural).expect("admission only asks for kinds that have a row")
}
