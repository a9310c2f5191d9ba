//! Writes a pod's status, when and only when it differs.

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use std::time::Duration;

/// Patches `status`; the pod as the API has it then, or `None` when there was nothing to write.
pub(crate) async fn write(
    client: &kube::Client,
    pod: &Pod,
    next: &PodStatus,
) -> kube::Result<Option<Pod>> {
    let before = serde_json::to_value(pod.status.clone().unwrap_or_default())
        .map_err(kube::Error::SerdeError)?;
    let after = serde_json::to_value(next).map_err(kube::Error::SerdeError)?;
    if before == after {
        return Ok(None);
    }
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    // The uid makes the API refuse when another pod has taken the name.
    let patch =
        json!({"metadata": {"uid": pod.metadata.uid}, "status": difference(&before, &after)});
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    let parameters = PatchParams::default();
    let patch = Patch::Merge(patch);
    let call = pods.patch_status(name, &parameters, &patch);
    let late = |_| kube::Error::Service("the API did not answer in time".into());
    tokio::time::timeout(ANSWER_LIMIT, call)
        .await
        .map_err(late)?
        .map(Some)
}

/// The merge patch (RFC 7386) over the first level: changed fields, and null for those that are gone.
fn difference(before: &Value, after: &Value) -> Value {
    let empty = serde_json::Map::new();
    let [before, after] = [before, after].map(|value| value.as_object().unwrap_or(&empty));
    let changed = after
        .iter()
        .filter(|(key, value)| before.get(*key) != Some(value));
    let mut patch: serde_json::Map<_, _> = changed
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    patch.extend(gone.map(|key| (key.clone(), Value::Null)));
    Value::Object(patch)
}

const ANSWER_LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_sent_and_what_is_gone_is_null() {
        let before = json!({"phase": "Pending", "reason": "Evicted", "qosClass": "Burstable"});
        let after = json!({"phase": "Running", "qosClass": "Burstable"});
        assert_eq!(
            difference(&before, &after),
            json!({"phase": "Running", "reason": null})
        );
    }
}
