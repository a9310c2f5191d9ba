//! ServiceAccount: every pod runs as one that exists, with its pull secrets and (if so configured) a token volume.

use portcullis_resource::error::{ApiError, GroupName};
use serde_json::{Value, json};

use super::own;
use crate::api::Api;
use crate::object::{random_suffix, text};

pub(super) async fn apply(api: &Api, namespace: &str, pod: &mut Value) -> Result<(), ApiError> {
    let name = match text(pod, "/spec/serviceAccountName") {
        "" => "default".to_owned(),
        named => named.to_owned(),
    };
    let found = api.find(own("", "serviceaccounts"), namespace, &name);
    let Some((account, _)) = found.await? else {
        // Made by a controller a moment after the namespace: clients try again.
        let message = format!(
            "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
        );
        let pod_name = text(pod, "/metadata/name");
        let pods = GroupName::new("", "pods");
        return Err(ApiError::forbidden(pods, pod_name, message));
    };
    pod["spec"]["serviceAccountName"] = json!(name);
    pod["spec"]["serviceAccount"] = json!(name);
    if pod.pointer("/spec/imagePullSecrets").is_none()
        && let Some(secrets) = account.get("imagePullSecrets")
    {
        pod["spec"]["imagePullSecrets"] = secrets.clone();
    }
    if api.config.project_service_account_tokens && wants_token(pod, &account) {
        project_token(pod);
    }
    Ok(())
}

fn wants_token(pod: &Value, account: &Value) -> bool {
    let own = pod.pointer("/spec/automountServiceAccountToken");
    let accounts = account.get("automountServiceAccountToken");
    own.or(accounts) != Some(&Value::Bool(false))
}

/// Adds the volume with token, authority and namespace, and mounts it where nothing else is.
fn project_token(pod: &mut Value) {
    let volume = format!("kube-api-access-{}", random_suffix());
    let mount = json!({"name": volume, "mountPath": MOUNT_PATH, "readOnly": true});
    let mut mounted = false;
    for list in ["/spec/initContainers", "/spec/containers"] {
        let containers = pod.pointer_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            mounted |= add_mount(container, &mount);
        }
    }
    if !mounted {
        return;
    }
    let projected = json!({
        "name": volume,
        "projected": {
            "defaultMode": 0o644,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_LIFETIME_S, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{
                    "path": "namespace",
                    "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                }]}},
            ],
        },
    });
    match pod
        .pointer_mut("/spec/volumes")
        .and_then(Value::as_array_mut)
    {
        Some(volumes) => volumes.push(projected),
        None => pod["spec"]["volumes"] = json!([projected]),
    }
}

/// False where the container has something else at the path.
fn add_mount(container: &mut Value, mount: &Value) -> bool {
    let Some(container) = container.as_object_mut() else {
        return false;
    };
    let mounts = container.entry("volumeMounts").or_insert_with(|| json!([]));
    let Some(mounts) = mounts.as_array_mut() else {
        return false;
    };
    if mounts.iter().any(|m| m["mountPath"] == MOUNT_PATH) {
        return false;
    }
    mounts.push(mount.clone());
    true
}

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Upstream's: an hour and a little, by which it tells these tokens from others.
const TOKEN_LIFETIME_S: u32 = 3_607;
