//! Priority: a pod's class becomes a number.

use portcullis_resource::error::{ApiError, GroupName};
use serde_json::{Value, json};

use super::own;
use crate::api::Api;
use crate::object::text;

pub(super) async fn apply(api: &Api, pod: &mut Value) -> Result<(), ApiError> {
    let class = text(pod, "/spec/priorityClassName").to_owned();
    // The system's own classes are known without an object; preparing fills them in.
    if class.is_empty() || class.starts_with("system-") {
        return Ok(());
    }
    let found = api.find(own("scheduling.k8s.io", "priorityclasses"), "", &class);
    let Some((found, _)) = found.await? else {
        let message = format!("no PriorityClass with name {class} was found");
        let name = text(pod, "/metadata/name");
        return Err(ApiError::forbidden(
            GroupName::new("", "pods"),
            name,
            message,
        ));
    };
    pod["spec"]["priority"] = found.get("value").cloned().unwrap_or_else(|| json!(0));
    if let Some(policy) = found.get("preemptionPolicy") {
        pod["spec"]["preemptionPolicy"] = policy.clone();
    }
    Ok(())
}
