//! ServiceAccount: every pod runs as one that exists, with its pull secrets and a volume of what it needs to talk to the
//! API: token, authority, namespace.

use portcullis_resource::error::{ApiError, GroupName};
use serde_json::{Value, json};

use super::own;
use crate::api::Api;
use crate::object::{random_suffix, text};
use crate::tokens::MOUNTED_LIFETIME_S;

pub(super) async fn apply(api: &Api, namespace: &str, pod: &mut Value) -> Result<(), ApiError> {
    let name = account_name(pod).to_owned();
    let found = api.find(own("", "serviceaccounts"), namespace, &name);
    let Some((account, _)) = found.await? else {
        // Made by a controller a moment after the namespace: clients try again.
        let message = format!(
            "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
        );
        let pods = GroupName::new("", "pods");
        return Err(ApiError::forbidden(pods, pod_name(pod), message));
    };
    pod["spec"]["serviceAccountName"] = json!(name);
    pod["spec"]["serviceAccount"] = json!(name);
    complete(pod, &account, &random_suffix());
    Ok(())
}

/// What the account gives to its pods.
fn complete(pod: &mut Value, account: &Value, suffix: &str) {
    if wants_token(pod, account) {
        project_token(pod, suffix);
    }
    let own = pod.pointer("/spec/imagePullSecrets");
    if own.and_then(Value::as_array).is_none_or(Vec::is_empty)
        && let Some(secrets) = account.get("imagePullSecrets")
    {
        pod["spec"]["imagePullSecrets"] = secrets.clone();
    }
}

/// The field's former name is an alias that counts where the field is empty.
fn account_name(pod: &Value) -> &str {
    let stated = ["/spec/serviceAccountName", "/spec/serviceAccount"];
    let mut stated = stated.iter().map(|field| text(pod, field));
    stated.find(|name| !name.is_empty()).unwrap_or("default")
}

/// Controllers leave the name to the server: what it will begin with is told then.
fn pod_name(pod: &Value) -> &str {
    match text(pod, "/metadata/name") {
        "" => text(pod, "/metadata/generateName"),
        name => name,
    }
}

fn wants_token(pod: &Value, account: &Value) -> bool {
    let own = pod.pointer("/spec/automountServiceAccountToken");
    let accounts = account.get("automountServiceAccountToken");
    let stated = own.filter(|own| own.is_boolean()).or(accounts);
    stated != Some(&Value::Bool(false))
}

/// Adds the volume with token, authority and namespace, and mounts it where nothing else is. A pod that brings a volume of
/// that name keeps its own.
fn project_token(pod: &mut Value, suffix: &str) {
    let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array);
    let brought = volumes.into_iter().flatten().find_map(|volume| {
        let name = text(volume, "/name");
        name.starts_with(VOLUME_PREFIX).then(|| name.to_owned())
    });
    let volume = match &brought {
        Some(name) => name.clone(),
        None => format!("{VOLUME_PREFIX}{suffix}"),
    };
    let mount = json!({"name": volume, "mountPath": MOUNT_PATH, "readOnly": true});
    let mut mounted = false;
    for list in ["/spec/initContainers", "/spec/containers"] {
        let containers = pod.pointer_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            mounted |= add_mount(container, &mount);
        }
    }
    if !mounted || brought.is_some() {
        return;
    }
    let projected = token_volume(&volume);
    let volumes = pod.pointer_mut("/spec/volumes");
    match volumes.and_then(Value::as_array_mut) {
        Some(volumes) => volumes.push(projected),
        None => pod["spec"]["volumes"] = json!([projected]),
    }
}

fn token_volume(name: &str) -> Value {
    json!({
        "name": name,
        "projected": {
            "defaultMode": 0o644,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": MOUNTED_LIFETIME_S, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{
                    "path": "namespace",
                    "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                }]}},
            ],
        },
    })
}

/// False where the container has something else at the path.
fn add_mount(container: &mut Value, mount: &Value) -> bool {
    let Some(container) = container.as_object_mut() else {
        return false;
    };
    let mounts = container.entry("volumeMounts").or_insert(Value::Null);
    if mounts.is_null() {
        *mounts = json!([]);
    }
    let Some(mounts) = mounts.as_array_mut() else {
        return false;
    };
    if mounts.iter().any(|m| m["mountPath"] == MOUNT_PATH) {
        return false;
    }
    mounts.push(mount.clone());
    true
}

const VOLUME_PREFIX: &str = "kube-api-access-";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

#[cfg(test)]
mod tests;
