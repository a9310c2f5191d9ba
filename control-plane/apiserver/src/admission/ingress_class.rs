//! DefaultIngressClass: an Ingress without a class gets the one that is marked default.

use portcullis_resource::error::ApiError;
use portcullis_resource::kind::KindSpec;
use serde_json::Value;

use super::own;
use crate::api::Api;
use crate::object::text;

/// The class for `object`, `None` where it is no Ingress, has one, or there is no default. Of several defaults the newest
/// counts, by name where they are equally old (as upstream since 1.28).
pub(crate) async fn default_ingress_class(
    api: &Api,
    kind: &KindSpec,
    object: &Value,
) -> Result<Option<String>, ApiError> {
    let annotations = object.pointer("/metadata/annotations");
    let named = object.pointer("/spec/ingressClassName").is_some()
        || annotations
            .and_then(|a| a.get("kubernetes.io/ingress.class"))
            .is_some();
    if kind.kind != "Ingress" || named {
        return Ok(None);
    }
    let mut defaults = api
        .all(own("networking.k8s.io", "ingressclasses"), "")
        .await?;
    defaults.retain(is_default);
    defaults.sort_by(|a, b| {
        let newest =
            text(b, "/metadata/creationTimestamp").cmp(text(a, "/metadata/creationTimestamp"));
        newest.then_with(|| text(a, "/metadata/name").cmp(text(b, "/metadata/name")))
    });
    Ok(defaults
        .first()
        .map(|class| text(class, "/metadata/name").to_owned()))
}

fn is_default(class: &Value) -> bool {
    let annotations = class.pointer("/metadata/annotations");
    let mark = annotations.and_then(|a| a.get("ingressclass.kubernetes.io/is-default-class"));
    mark == Some(&Value::from("true"))
}
