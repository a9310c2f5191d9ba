//! Observed pod → next actions. Level-triggered: after each round the shell looks again and asks again.

use crate::observed::{Container, ContainerState, Observed, RestartPolicy, SANDBOX, is_sidecar};
use crate::phase::{self, Init};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container as ContainerSpec;
use serde::Serialize;

/// One thing for the shell to do, in order; the first that fails ends the round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Prepares volumes, hosts file and log directory, then makes and starts a sandbox.
    #[serde(rename_all = "camelCase")]
    CreateSandbox { attempt: u32 },
    #[serde(rename_all = "camelCase")]
    StartContainer {
        name: String,
        attempt: u32,
        streak: u32,
    },
    /// Runs the preStop hook, then asks politely for `grace_seconds`, then kills.
    #[serde(rename_all = "camelCase")]
    StopContainer {
        id: String,
        name: String,
        grace_seconds: u64,
        reason: StopReason,
    },
    #[serde(rename_all = "camelCase")]
    RemoveContainer { id: String },
    #[serde(rename_all = "camelCase")]
    StopSandbox { id: String },
    #[serde(rename_all = "camelCase")]
    RemoveSandbox { id: String },
    /// Volumes, logs and cgroups of the pod.
    RemoveFiles,
    /// The API's final delete, with a grace of zero.
    DeleteFromApi,
    /// Nothing now; look again then.
    #[serde(rename_all = "camelCase")]
    WakeAt { at: Timestamp },
}

/// Why a running container is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum StopReason {
    PodDeleted,
    PodFinished,
    SandboxGone,
    LivenessFailed,
    StartupFailed,
}

/// What to do now with the pod seen; empty when it is as it should be.
pub fn plan(observed: &Observed, now: Timestamp) -> Vec<Action> {
    if observed.pod.metadata.deletion_timestamp.is_some() {
        return end(observed);
    }
    if phase::phase(observed, now).is_terminal() {
        return wind_down(observed);
    }
    let mut actions = match observed.runtime.sandbox() {
        Some(sandbox) => live(observed, &sandbox.id, now),
        None => new_sandbox(observed, now),
    };
    if let Some(at) = phase::deadline(observed) {
        actions.push(Action::WakeAt { at });
    }
    earliest_wake_last(actions)
}

/// The API has asked for the pod's end: containers, then sandboxes, then files, then the object itself.
fn end(observed: &Observed) -> Vec<Action> {
    let stops = stops(observed, StopReason::PodDeleted);
    if !stops.is_empty() {
        return stops;
    }
    if observed.runtime.exists() {
        let stop = |id: &String| {
            [
                Action::StopSandbox { id: id.clone() },
                Action::RemoveSandbox { id: id.clone() },
            ]
        };
        return observed
            .runtime
            .sandboxes
            .iter()
            .flat_map(|sandbox| stop(&sandbox.id))
            .collect();
    }
    vec![Action::RemoveFiles, Action::DeleteFromApi]
}

/// The pod has finished by itself: its records and logs stay until it is deleted.
fn wind_down(observed: &Observed) -> Vec<Action> {
    let stops = stops(observed, StopReason::PodFinished);
    if !stops.is_empty() {
        return stops;
    }
    let ready = observed
        .runtime
        .sandboxes
        .iter()
        .filter(|sandbox| sandbox.ready);
    ready
        .map(|sandbox| Action::StopSandbox {
            id: sandbox.id.clone(),
        })
        .collect()
}

/// Main containers first; sidecars only once none of those runs (KEP-753).
fn stops(observed: &Observed, reason: StopReason) -> Vec<Action> {
    let sidecar = |container: &Container| {
        !observed
            .spec
            .containers
            .iter()
            .any(|spec| spec.name == container.name)
    };
    let running = || {
        observed
            .runtime
            .containers
            .iter()
            .filter(|container| container.is_running())
    };
    let mains: Vec<_> = running().filter(|container| !sidecar(container)).collect();
    let chosen = if mains.is_empty() {
        running().collect()
    } else {
        mains
    };
    chosen
        .into_iter()
        .map(|container| stop(observed, container, reason))
        .collect()
}

fn stop(observed: &Observed, container: &Container, reason: StopReason) -> Action {
    let pod = observed
        .spec
        .termination_grace_period_seconds
        .unwrap_or(DEFAULT_GRACE_SECONDS);
    let grace = match reason {
        StopReason::PodDeleted => observed
            .pod
            .metadata
            .deletion_grace_period_seconds
            .unwrap_or(pod),
        StopReason::LivenessFailed => {
            probe_grace(observed, &container.name, |spec| &spec.liveness_probe).unwrap_or(pod)
        }
        StopReason::StartupFailed => {
            probe_grace(observed, &container.name, |spec| &spec.startup_probe).unwrap_or(pod)
        }
        StopReason::PodFinished | StopReason::SandboxGone => pod,
    };
    Action::StopContainer {
        id: container.id.clone(),
        name: container.name.clone(),
        grace_seconds: grace.clamp(0, LONGEST_GRACE_SECONDS).unsigned_abs(),
        reason,
    }
}

fn probe_grace(
    observed: &Observed,
    name: &str,
    probe: impl Fn(&ContainerSpec) -> &Option<k8s_openapi::api::core::v1::Probe>,
) -> Option<i64> {
    let spec = specs(observed).find(|spec| spec.name == name)?;
    probe(spec).as_ref()?.termination_grace_period_seconds
}

fn new_sandbox(observed: &Observed, now: Timestamp) -> Vec<Action> {
    let orphans = observed
        .runtime
        .containers
        .iter()
        .filter(|container| container.is_running());
    let mut actions: Vec<_> = orphans
        .map(|container| stop(observed, container, StopReason::SandboxGone))
        .collect();
    if let Some(at) = held(observed, SANDBOX, now) {
        actions.push(Action::WakeAt { at });
        return actions;
    }
    let last = observed.runtime.sandboxes.first();
    actions.extend(last.map(|sandbox| Action::StopSandbox {
        id: sandbox.id.clone(),
    }));
    actions.push(Action::CreateSandbox {
        attempt: last.map_or(0, |sandbox| sandbox.attempt + 1),
    });
    actions
}

fn live(observed: &Observed, sandbox: &str, now: Timestamp) -> Vec<Action> {
    let mut actions = prune(observed, sandbox);
    let inits = observed.spec.init_containers.as_deref().unwrap_or_default();
    match phase::init(observed) {
        Init::Failed => {}
        Init::At(index) => {
            let sidecars = inits[..index].iter().filter(|spec| is_sidecar(spec));
            let policy = RestartPolicy::of(observed.spec);
            actions.extend(
                sidecars
                    .flat_map(|spec| advance(observed, spec, RestartPolicy::Always, sandbox, now)),
            );
            let policy = if is_sidecar(&inits[index]) {
                RestartPolicy::Always
            } else {
                after_init_failure(policy)
            };
            actions.extend(advance(observed, &inits[index], policy, sandbox, now));
        }
        Init::Done => {
            let sidecars = inits.iter().filter(|spec| is_sidecar(spec));
            let policy = RestartPolicy::of(observed.spec);
            actions.extend(
                sidecars
                    .flat_map(|spec| advance(observed, spec, RestartPolicy::Always, sandbox, now)),
            );
            let mains = observed.spec.containers.iter();
            actions.extend(mains.flat_map(|spec| advance(observed, spec, policy, sandbox, now)));
        }
    }
    actions
}

/// An init container has to succeed, so for it Always means what OnFailure means.
fn after_init_failure(policy: RestartPolicy) -> RestartPolicy {
    match policy {
        RestartPolicy::Never => RestartPolicy::Never,
        _ => RestartPolicy::OnFailure,
    }
}

/// Brings one container forward: start, restart after its wait, or stop because a probe says so.
fn advance(
    observed: &Observed,
    spec: &ContainerSpec,
    policy: RestartPolicy,
    sandbox: &str,
    now: Timestamp,
) -> Option<Action> {
    let current = observed.runtime.current(sandbox, &spec.name);
    match current.map(|container| (container, &container.state)) {
        Some((container, ContainerState::Running { .. })) => stop_failing(observed, container),
        Some((container, ContainerState::Created)) => Some(Action::RemoveContainer {
            id: container.id.clone(),
        }),
        Some((_, ContainerState::Unknown)) => None,
        Some((_, ContainerState::Exited { exit_code, .. }))
            if !policy.restarts_after(*exit_code) =>
        {
            None
        }
        // Of a former sandbox or of this one: both count as runs that ended.
        Some(_) | None => Some(start(observed, spec, now)),
    }
}

fn start(observed: &Observed, spec: &ContainerSpec, now: Timestamp) -> Action {
    let run = phase::next_run(observed.runtime.history(&spec.name).next());
    let until = run
        .at
        .into_iter()
        .chain(held(observed, &spec.name, now))
        .max();
    match until.filter(|at| *at > now) {
        Some(at) => Action::WakeAt { at },
        None => Action::StartContainer {
            name: spec.name.clone(),
            attempt: run.attempt,
            streak: run.streak,
        },
    }
}

fn stop_failing(observed: &Observed, container: &Container) -> Option<Action> {
    let verdicts = observed.probes.get(&container.id)?;
    if verdicts.startup == Some(false) {
        return Some(stop(observed, container, StopReason::StartupFailed));
    }
    (verdicts.liveness == Some(false))
        .then(|| stop(observed, container, StopReason::LivenessFailed))
}

/// The time before which a failed attempt is not repeated.
fn held(observed: &Observed, name: &str, now: Timestamp) -> Option<Timestamp> {
    let at = phase::retry_at(observed.failures.get(name)?);
    (at > now).then_some(at)
}

/// Keeps the newest two runs of a container (the second answers `logs --previous`), and no dead sandbox without one of them.
fn prune(observed: &Observed, sandbox: &str) -> Vec<Action> {
    let mut kept = Vec::new();
    let mut actions = Vec::new();
    for container in observed
        .runtime
        .containers
        .iter()
        .filter(|container| !container.sandbox.is_empty())
    {
        let newer = kept
            .iter()
            .filter(|other: &&&Container| other.name == container.name)
            .count();
        if newer < 2 || !matches!(container.state, ContainerState::Exited { .. }) {
            kept.push(container);
        } else {
            actions.push(Action::RemoveContainer {
                id: container.id.clone(),
            });
        }
    }
    let empty = |id: &str| id != sandbox && !kept.iter().any(|container| container.sandbox == id);
    let dead = observed
        .runtime
        .sandboxes
        .iter()
        .filter(|other| empty(&other.id));
    for other in dead {
        actions.push(Action::StopSandbox {
            id: other.id.clone(),
        });
        actions.push(Action::RemoveSandbox {
            id: other.id.clone(),
        });
    }
    actions
}

fn specs<'a>(observed: &'a Observed) -> impl Iterator<Item = &'a ContainerSpec> {
    observed
        .spec
        .init_containers
        .iter()
        .flatten()
        .chain(&observed.spec.containers)
}

fn earliest_wake_last(actions: Vec<Action>) -> Vec<Action> {
    let wake = actions.iter().filter_map(|action| match action {
        Action::WakeAt { at } => Some(*at),
        _ => None,
    });
    let wake = wake.min();
    let mut rest: Vec<_> = actions
        .into_iter()
        .filter(|action| !matches!(action, Action::WakeAt { .. }))
        .collect();
    rest.extend(wake.map(|at| Action::WakeAt { at }));
    rest
}

/// The API's default for `terminationGracePeriodSeconds`.
const DEFAULT_GRACE_SECONDS: i64 = 30;
/// A year: longer would overflow timers and means never.
const LONGEST_GRACE_SECONDS: i64 = 365 * 86400;
