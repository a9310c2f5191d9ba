//! What the shell saw: runtime state, probe verdicts and failed attempts, as plain values.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container as ContainerSpec, ContainerStatus, Pod, PodSpec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Everything [`crate::plan()`] and [`crate::status()`] look at.
pub struct Observed<'a> {
    pub pod: &'a Pod,
    /// The pod's own, which the shell has found to be present.
    pub spec: &'a PodSpec,
    pub runtime: &'a Runtime,
    /// By container id.
    pub probes: &'a BTreeMap<String, ProbeVerdicts>,
    /// Attempts that failed before a container ran, by container name; [`SANDBOX`] for the sandbox itself.
    pub failures: &'a BTreeMap<String, Failure>,
    /// Addresses of the node, which host-network pods share.
    pub host_ips: &'a [IpAddr],
}

/// Key of the sandbox among [`Observed::failures`]; no container can have this name.
pub const SANDBOX: &str = "";

/// The pod as the container runtime knows it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    /// Newest first.
    #[serde(default)]
    pub sandboxes: Vec<Sandbox>,
    /// Newest first.
    #[serde(default)]
    pub containers: Vec<Container>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    pub id: String,
    #[serde(default)]
    pub attempt: u32,
    pub ready: bool,
    #[serde(default)]
    pub ips: Vec<IpAddr>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    pub id: String,
    pub name: String,
    pub sandbox: String,
    /// The pod's restart count of this container when it was made.
    #[serde(default)]
    pub attempt: u32,
    /// Crashes in a row when it was made, which sets the next wait.
    #[serde(default)]
    pub streak: u32,
    #[serde(default)]
    pub image: String,
    #[serde(default)]
    pub image_id: String,
    pub state: ContainerState,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ContainerState {
    /// Made but never started: a start that was interrupted.
    Created,
    #[serde(rename_all = "camelCase")]
    Running {
        started_at: Timestamp,
    },
    #[serde(rename_all = "camelCase")]
    Exited {
        started_at: Timestamp,
        finished_at: Timestamp,
        exit_code: i32,
        #[serde(default)]
        reason: String,
        #[serde(default)]
        message: String,
    },
    Unknown,
}

/// Probe outcomes after thresholds; `None` until a threshold was reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeVerdicts {
    pub startup: Option<bool>,
    pub liveness: Option<bool>,
    pub readiness: Option<bool>,
}

/// An attempt that failed before its container ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// Upstream's waiting reason, such as `CreateContainerConfigError`.
    pub reason: String,
    pub message: String,
    pub at: Timestamp,
    /// Failures in a row, this one included.
    pub count: u32,
}

/// `status.phase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

impl Phase {
    pub fn name(self) -> &'static str {
        match self {
            Phase::Pending => "Pending",
            Phase::Running => "Running",
            Phase::Succeeded => "Succeeded",
            Phase::Failed => "Failed",
        }
    }

    pub fn is_terminal(self) -> bool {
        matches!(self, Phase::Succeeded | Phase::Failed)
    }
}

/// `spec.restartPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

impl RestartPolicy {
    pub(crate) fn of(spec: &PodSpec) -> Self {
        match spec.restart_policy.as_deref() {
            Some("Never") => RestartPolicy::Never,
            Some("OnFailure") => RestartPolicy::OnFailure,
            _ => RestartPolicy::Always,
        }
    }

    pub(crate) fn restarts_after(self, exit_code: i32) -> bool {
        match self {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => exit_code != 0,
            RestartPolicy::Never => false,
        }
    }
}

/// An init container with `restartPolicy: Always` (KEP-753).
pub(crate) fn is_sidecar(container: &ContainerSpec) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

impl Container {
    pub fn is_running(&self) -> bool {
        matches!(self.state, ContainerState::Running { .. })
    }
}

impl Runtime {
    /// Adds what the API remembers of containers that the runtime has lost (a reboot, a stop of the node): without it a
    /// `Never` pod would run twice and restart counts would fall back to zero.
    pub fn recall(&mut self, pod: &Pod) {
        let Some(status) = &pod.status else { return };
        let lists = [&status.init_container_statuses, &status.container_statuses];
        for remembered in lists.into_iter().flatten().flatten() {
            if self.history(&remembered.name).next().is_none() {
                self.containers.extend(recalled(remembered));
            }
        }
    }

    /// Containers and sandboxes that exist in the runtime, as opposed to in memory only.
    pub fn exists(&self) -> bool {
        !self.sandboxes.is_empty()
            || self
                .containers
                .iter()
                .any(|container| !container.sandbox.is_empty())
    }

    /// The sandbox the pod lives in now, if it is alive.
    pub fn sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first().filter(|sandbox| sandbox.ready)
    }

    /// The newest container of that name in that sandbox.
    pub(crate) fn current(&self, sandbox: &str, name: &str) -> Option<&Container> {
        self.containers
            .iter()
            .find(|container| container.sandbox == sandbox && container.name == name)
    }

    /// The newest containers of that name in any sandbox, newest first.
    pub(crate) fn history<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Container> {
        self.containers
            .iter()
            .filter(move |container| container.name == name)
    }
}

fn recalled(status: &ContainerStatus) -> Option<Container> {
    let id = status
        .container_id
        .as_ref()?
        .rsplit("//")
        .next()?
        .to_owned();
    let state = status.state.as_ref()?;
    let last = status
        .last_state
        .as_ref()
        .and_then(|last| last.terminated.as_ref());
    let state = match (&state.terminated.as_ref().or(last), &state.running) {
        (_, Some(running)) => lost(running.started_at.as_ref()?.0),
        (Some(ended), None) => ContainerState::Exited {
            started_at: ended.started_at.as_ref()?.0,
            finished_at: ended.finished_at.as_ref()?.0,
            exit_code: ended.exit_code,
            reason: ended.reason.clone().unwrap_or_default(),
            message: ended.message.clone().unwrap_or_default(),
        },
        (None, None) => return None,
    };
    Some(Container {
        id,
        name: status.name.clone(),
        sandbox: String::new(),
        attempt: u32::try_from(status.restart_count).unwrap_or(0),
        streak: 0,
        image: status.image.clone(),
        image_id: status.image_id.clone(),
        state,
    })
}

/// How upstream reports a container that vanished while it was believed to run.
fn lost(started_at: Timestamp) -> ContainerState {
    ContainerState::Exited {
        started_at,
        finished_at: started_at,
        exit_code: 137,
        reason: "ContainerStatusUnknown".into(),
        message: "The container could not be located when the pod was synced".into(),
    }
}
