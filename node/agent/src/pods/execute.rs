//! Carries out one round of actions. It makes no choices: those are the planner's.

use crate::error::{Error, Result};
use crate::node::Node;
use crate::pods::check::{self, Subject};
use crate::pods::fetch::Tokens;
use crate::pods::{configuration, volume_files};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod, PodSpec};
use kube::api::{Api, DeleteParams, Preconditions};
use portcullis_pod::notices::{self, Notice};
use portcullis_pod::{Action, Runtime, observed};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// One round for one pod, with everything it needs of its own.
pub(crate) struct Round {
    pub node: Arc<Node>,
    pub pod: Arc<Pod>,
    pub spec: Arc<PodSpec>,
    pub runtime: Runtime,
    pub tokens: Tokens,
    /// False once the object is gone: there is nothing left to delete.
    pub in_api: bool,
    /// Becomes true when the pod is to go while it is still being started.
    pub cut: watch::Receiver<bool>,
}

/// An action that failed, for the pod's status.
pub(crate) struct Failed {
    /// The container's name; [`observed::SANDBOX`] for the pod as a whole.
    pub subject: String,
    pub reason: &'static str,
    pub message: String,
}

/// How a round ended.
#[derive(Default)]
pub(crate) struct Outcome {
    pub failed: Vec<Failed>,
    /// Subjects that worked, whose former failures are forgotten.
    pub worked: Vec<String>,
    /// Something failed whose repetition the planner does not space out by itself.
    pub stuck: bool,
    /// The pod is no more.
    pub finished: bool,
}

impl Round {
    pub(crate) async fn run(self, actions: Vec<Action>) -> Outcome {
        let mut outcome = Outcome::default();
        let (stops, rest): (Vec<_>, Vec<_>) = actions
            .into_iter()
            .partition(|action| matches!(action, Action::StopContainer { .. }));
        for (name, result) in join_all(stops.into_iter().map(|action| self.stop(action))).await {
            outcome.stuck |= result.is_err();
            note(&mut outcome, name, "KillContainerError", result);
        }
        for action in rest {
            let starts = matches!(action, Action::StartContainer { .. });
            if starts && *self.cut.borrow() {
                break;
            }
            let is_spaced = starts || matches!(action, Action::CreateSandbox { .. });
            let failures = outcome.failed.len();
            self.one(action, &mut outcome).await;
            outcome.stuck |= !is_spaced && outcome.failed.len() > failures;
            // One container that cannot start must not hold back its siblings; everything else is a sequence.
            if !starts && !outcome.failed.is_empty() {
                break;
            }
        }
        outcome
    }

    async fn one(&self, action: Action, outcome: &mut Outcome) {
        let whole = || observed::SANDBOX.to_owned();
        let cri = &self.node.cri;
        match action {
            Action::CreateSandbox { attempt } => {
                note(
                    outcome,
                    whole(),
                    "FailedCreatePodSandBox",
                    self.create_sandbox(attempt).await,
                );
            }
            Action::StartContainer {
                name,
                attempt,
                streak,
            } => match self.start(&name, attempt, streak).await {
                Ok(()) => outcome.worked.push(name),
                Err(_) if *self.cut.borrow() => {}
                Err((reason, error)) => note(outcome, name, reason, Err(error)),
            },
            Action::RemoveContainer { id } => note(
                outcome,
                whole(),
                "RemoveContainerError",
                cri.remove_container(&id).await,
            ),
            Action::StopSandbox { id } => note(
                outcome,
                whole(),
                "KillPodSandboxError",
                cri.stop_sandbox(&id).await,
            ),
            Action::RemoveSandbox { id } => note(
                outcome,
                whole(),
                "KillPodSandboxError",
                cri.remove_sandbox(&id).await,
            ),
            Action::RemoveFiles => note(outcome, whole(), "RemoveFilesError", self.remove_files()),
            Action::DeleteFromApi => {
                let deleted = self.delete_from_api().await;
                outcome.finished = deleted.is_ok();
                note(outcome, whole(), "DeleteError", deleted);
            }
            Action::StopContainer { .. } | Action::WakeAt { .. } => {}
        }
    }

    /// Returns when the pod is to go, and else never.
    pub(super) async fn interrupted(&self) {
        let mut cut = self.cut.clone();
        if cut.wait_for(|cut| *cut).await.is_err() {
            std::future::pending().await
        }
    }

    async fn create_sandbox(&self, attempt: u32) -> Result<()> {
        for directory in [
            self.node.layout.pod_logs(&self.pod),
            self.node.layout.pod(self.uid()),
        ] {
            std::fs::create_dir_all(&directory).map_err(Error::file(&directory))?;
        }
        if attempt > 0 {
            self.tell(notices::sandbox_changed());
        }
        let config = configuration::sandbox(&self.node, &self.pod, &self.spec, attempt);
        self.node.cri.run_sandbox(config).await?;
        Ok(())
    }

    async fn stop(&self, action: Action) -> (String, Result<()>) {
        let Action::StopContainer {
            id,
            name,
            grace_seconds,
            reason,
        } = action
        else {
            return (String::new(), Ok(()));
        };
        self.tell(notices::killing(&name, reason));
        let begun = Instant::now();
        let grace = Duration::from_secs(grace_seconds.max(MIN_GRACE_SECONDS));
        let spec = self.container(&name);
        if let Some(spec) = spec
            && let Some(hook) = spec
                .lifecycle
                .as_ref()
                .and_then(|lifecycle| lifecycle.pre_stop.as_ref())
        {
            let ip = self
                .runtime
                .sandbox()
                .and_then(|sandbox| sandbox.ips.first().copied());
            if let Err(reason) = self.hook(spec, &id, hook, grace, ip).await {
                tracing::info!("preStop hook of {name}: {reason}");
                self.tell(notices::pre_stop_failed(&name));
            }
        }
        // The hook's time counts; the process always gets a moment.
        let left = grace
            .saturating_sub(begun.elapsed())
            .max(Duration::from_secs(MIN_GRACE_SECONDS));
        (name, self.node.cri.stop_container(&id, left).await)
    }

    pub(super) async fn hook(
        &self,
        container: &Container,
        id: &str,
        hook: &LifecycleHandler,
        limit: Duration,
        ip: Option<IpAddr>,
    ) -> check::Outcome {
        let ip = if self.spec.host_network == Some(true) {
            self.node.host_ips.first().copied()
        } else {
            ip
        };
        let subject = Subject {
            node: &self.node,
            container,
            container_id: id,
            ip,
        };
        let run = async {
            match (&hook.http_get, &hook.exec, &hook.sleep) {
                (Some(get), ..) => check::http_get(&subject, get).await,
                (_, Some(exec), _) => check::exec(&subject, exec, limit).await,
                (.., Some(sleep)) => {
                    tokio::time::sleep(Duration::from_secs(sleep.seconds.max(0).unsigned_abs()))
                        .await;
                    Ok(())
                }
                _ => Ok(()),
            }
        };
        tokio::time::timeout(limit, run)
            .await
            .unwrap_or_else(|_| Err("it did not end in time".into()))
    }

    fn remove_files(&self) -> Result<()> {
        volume_files::remove(&self.node.layout, self.uid())?;
        let logs = self.node.layout.pod_logs(&self.pod);
        let _ = std::fs::remove_dir_all(logs);
        crate::containerd::remove_cgroups(&configuration::cgroup(&self.node, &self.pod));
        Ok(())
    }

    async fn delete_from_api(&self) -> Result<()> {
        if !self.in_api {
            return Ok(());
        }
        let (namespace, name) = (
            self.namespace(),
            self.pod.metadata.name.as_deref().unwrap_or_default(),
        );
        let preconditions = Preconditions {
            uid: self.pod.metadata.uid.clone(),
            resource_version: None,
        };
        let parameters = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(preconditions),
            ..Default::default()
        };
        match Api::<Pod>::namespaced(self.node.client.clone(), namespace)
            .delete(name, &parameters)
            .await
        {
            Ok(_) => Ok(()),
            // Gone already, or another pod of that name: either way ours is no more.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(Error::api(format!("delete the pod {namespace}/{name}"))(
                error,
            )),
        }
    }

    pub(super) fn container(&self, name: &str) -> Option<&Container> {
        let mut all = self
            .spec
            .init_containers
            .iter()
            .flatten()
            .chain(&self.spec.containers);
        all.find(|container| container.name == name)
    }

    pub(super) fn tell(&self, notice: Notice) {
        self.node.recorder.record(&self.pod, notice);
    }

    pub(super) fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or_default()
    }

    pub(super) fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or("default")
    }
}

fn note(outcome: &mut Outcome, subject: String, reason: &'static str, result: Result<()>) {
    match result {
        Ok(()) => outcome.worked.push(subject),
        Err(error) => outcome.failed.push(Failed {
            subject,
            reason,
            message: error.to_string(),
        }),
    }
}

/// Upstream's least grace: even a force-deleted pod's processes get a moment.
pub(super) const MIN_GRACE_SECONDS: u64 = 2;
