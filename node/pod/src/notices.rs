//! What the kubelet tells people about a pod in Events: reasons and texts as upstream's users know them.

use crate::observed::SANDBOX;
use crate::plan::StopReason;
use crate::probe::ProbeKind;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodSpec, PodStatus};

/// One Event about a pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Notice {
    pub warning: bool,
    /// An upper-camel-case word, such as `Started`.
    pub reason: &'static str,
    pub message: String,
    /// The container it is about; `None` for the pod as a whole.
    pub container: Option<String>,
}

impl Notice {
    fn of(warning: bool, container: &str, reason: &'static str, message: String) -> Self {
        Notice {
            warning,
            reason,
            message,
            container: (container != SANDBOX).then(|| container.to_owned()),
        }
    }

    /// `involvedObject.fieldPath`.
    pub fn field_path(&self, spec: &PodSpec) -> Option<String> {
        let name = self.container.as_deref()?;
        let is_init = spec
            .init_containers
            .iter()
            .flatten()
            .any(|init| init.name == name);
        let list = if is_init {
            "initContainers"
        } else {
            "containers"
        };
        Some(format!("spec.{list}{{{name}}}"))
    }
}

pub fn image_present(container: &str, image: &str) -> Notice {
    let message = format!("Container image \"{image}\" already present on machine");
    Notice::of(false, container, "Pulled", message)
}

pub fn pulling(container: &str, image: &str) -> Notice {
    let message = format!("Pulling image \"{image}\"");
    Notice::of(false, container, "Pulling", message)
}

pub fn pulled(container: &str, image: &str) -> Notice {
    let message = format!("Successfully pulled image \"{image}\"");
    Notice::of(false, container, "Pulled", message)
}

pub fn created(container: &str) -> Notice {
    let message = format!("Created container: {container}");
    Notice::of(false, container, "Created", message)
}

pub fn started(container: &str) -> Notice {
    let message = format!("Started container {container}");
    Notice::of(false, container, "Started", message)
}

pub fn killing(container: &str, reason: StopReason) -> Notice {
    let message = match reason {
        StopReason::LivenessFailed => {
            format!("Container {container} failed liveness probe, will be restarted")
        }
        StopReason::StartupFailed => {
            format!("Container {container} failed startup probe, will be restarted")
        }
        StopReason::PodDeleted | StopReason::PodFinished | StopReason::SandboxGone => {
            format!("Stopping container {container}")
        }
    };
    Notice::of(false, container, "Killing", message)
}

pub fn pull_secrets_missing(names: &[String]) -> Notice {
    let message = format!(
        "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
        names.join(", ")
    );
    Notice::of(true, SANDBOX, "FailedToRetrieveImagePullSecret", message)
}

pub fn sandbox_changed() -> Notice {
    let message = "Pod sandbox changed, it will be killed and re-created.".to_owned();
    Notice::of(false, SANDBOX, "SandboxChanged", message)
}

pub fn unhealthy(container: &str, kind: ProbeKind, outcome: &str) -> Notice {
    let message = format!("{} probe failed: {outcome}", kind.name());
    Notice::of(true, container, "Unhealthy", message)
}

pub fn pre_stop_failed(container: &str) -> Notice {
    let message = "PreStopHook failed".to_owned();
    Notice::of(true, container, "FailedPreStopHook", message)
}

/// An action that failed: `subject` is the container's name or [`SANDBOX`], `reason` as the executor gave it.
pub fn failed(subject: &str, image: &str, reason: &str, message: &str) -> Vec<Notice> {
    let warning = |reason, message| Notice::of(true, subject, reason, message);
    match reason {
        "FailedCreatePodSandBox" => vec![warning(
            "FailedCreatePodSandBox",
            format!("Failed to create pod sandbox: {message}"),
        )],
        FAILED_MOUNT => vec![Notice::of(true, SANDBOX, FAILED_MOUNT, message.to_owned())],
        "ErrImageNeverPull" => vec![
            warning(
                "ErrImageNeverPull",
                format!("Container image \"{image}\" is not present with pull policy of Never"),
            ),
            warning("Failed", "Error: ErrImageNeverPull".into()),
        ],
        "ErrImagePull" => vec![
            warning(
                "Failed",
                format!("Failed to pull image \"{image}\": {message}"),
            ),
            warning("Failed", "Error: ErrImagePull".into()),
        ],
        "PostStartHookError" => vec![warning(
            "FailedPostStartHook",
            format!("PostStartHook failed: {message}"),
        )],
        "KillContainerError" | "KillPodSandboxError" => vec![warning(
            "FailedKillPod",
            format!("error killing pod: {message}"),
        )],
        _ if subject != SANDBOX => vec![warning("Failed", format!("Error: {message}"))],
        _ => Vec::new(),
    }
}

/// Waits that have begun between two statuses: `CrashLoopBackOff` and `ImagePullBackOff`.
pub fn back_offs(pod: &Pod, before: &PodStatus, after: &PodStatus) -> Vec<Notice> {
    let all = |status: &PodStatus| -> Vec<ContainerStatus> {
        let lists = [&status.init_container_statuses, &status.container_statuses];
        lists.into_iter().flatten().flatten().cloned().collect()
    };
    let before = all(before);
    let fresh = all(after).into_iter().filter(|status| {
        let former = before.iter().find(|former| former.name == status.name);
        former.is_none_or(|former| {
            waits_for(former) != waits_for(status) || former.restart_count != status.restart_count
        })
    });
    fresh.filter_map(|status| back_off(pod, &status)).collect()
}

fn back_off(pod: &Pod, status: &ContainerStatus) -> Option<Notice> {
    let name = &status.name;
    let message = match waits_for(status)? {
        "CrashLoopBackOff" => {
            let meta = &pod.metadata;
            let [pod, namespace, uid] =
                [&meta.name, &meta.namespace, &meta.uid].map(|part| part.as_deref().unwrap_or(""));
            format!("Back-off restarting failed container {name} in pod {pod}_{namespace}({uid})")
        }
        "ImagePullBackOff" => format!("Back-off pulling image \"{}\"", status.image),
        _ => return None,
    };
    Some(Notice::of(true, name, "BackOff", message))
}

fn waits_for(status: &ContainerStatus) -> Option<&str> {
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    waiting.reason.as_deref()
}

/// The executor's reason when a volume cannot be made; in the status such a container is still being created.
pub const FAILED_MOUNT: &str = "FailedMount";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(notices: &[Notice]) -> Vec<String> {
        let text = |notice: &Notice| {
            let kind = if notice.warning { "Warning" } else { "Normal" };
            format!("{kind} {}: {}", notice.reason, notice.message)
        };
        notices.iter().map(text).collect()
    }

    #[test]
    fn a_failure_says_what_upstream_says() {
        assert_eq!(
            texts(&failed("web", "img:1", "ErrImageNeverPull", "absent")),
            [
                "Warning ErrImageNeverPull: Container image \"img:1\" is not present with pull policy of Never",
                "Warning Failed: Error: ErrImageNeverPull",
            ]
        );
        assert_eq!(
            texts(&failed(
                "web",
                "img:1",
                "CreateContainerConfigError",
                "configmap \"x\" not found"
            )),
            ["Warning Failed: Error: configmap \"x\" not found"]
        );
        assert_eq!(
            texts(&failed(SANDBOX, "", "FailedCreatePodSandBox", "no address")),
            ["Warning FailedCreatePodSandBox: Failed to create pod sandbox: no address"]
        );
        assert!(failed(SANDBOX, "", "DeleteError", "x").is_empty());
    }

    #[test]
    fn a_back_off_is_told_once_per_restart() {
        let pod = serde_json::from_value(
            json!({"metadata": {"name": "p", "namespace": "d", "uid": "u"}}),
        )
        .unwrap();
        let status = |restarts: i32, reason: &str| -> PodStatus {
            let container = json!({"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": restarts, "state": {"waiting": {"reason": reason}}});
            serde_json::from_value(json!({"containerStatuses": [container]})).unwrap()
        };
        let crash = status(1, "CrashLoopBackOff");
        assert_eq!(
            texts(&back_offs(&pod, &status(1, "ContainerCreating"), &crash)),
            ["Warning BackOff: Back-off restarting failed container c in pod p_d(u)"]
        );
        assert!(back_offs(&pod, &crash, &crash).is_empty());
        assert_eq!(
            back_offs(&pod, &crash, &status(2, "CrashLoopBackOff")).len(),
            1
        );
        assert_eq!(
            texts(&back_offs(
                &pod,
                &PodStatus::default(),
                &status(0, "ImagePullBackOff")
            )),
            ["Warning BackOff: Back-off pulling image \"i\""]
        );
    }

    #[test]
    fn a_field_path_names_the_list() {
        let spec = serde_json::from_value(
            json!({"initContainers": [{"name": "i"}], "containers": [{"name": "c"}]}),
        )
        .unwrap();
        assert_eq!(
            started("i").field_path(&spec).unwrap(),
            "spec.initContainers{i}"
        );
        assert_eq!(
            started("c").field_path(&spec).unwrap(),
            "spec.containers{c}"
        );
        assert_eq!(sandbox_changed().field_path(&spec), None);
    }
}
