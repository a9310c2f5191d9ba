//! How far a pod has come: its init containers, its phase, its waits between crashes.

use crate::observed::{Container, ContainerState, Observed, Phase, RestartPolicy, is_sidecar};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Container as ContainerSpec;
use std::time::Duration;

/// Where the init containers stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Init {
    /// The container at this index has to finish (a sidecar: to have started) first.
    At(usize),
    Done,
    /// One failed and the pod's restart policy forbids another try.
    Failed,
}

pub(crate) fn init(observed: &Observed) -> Init {
    let specs = observed.spec.init_containers.as_deref().unwrap_or_default();
    let home = home(observed);
    let runs = |spec: &ContainerSpec| observed.runtime.current(home, &spec.name).is_some();
    if specs.is_empty() || observed.spec.containers.iter().any(runs) {
        return Init::Done;
    }
    for (index, spec) in specs.iter().enumerate() {
        match observed
            .runtime
            .current(home, &spec.name)
            .map(|container| (container, &container.state))
        {
            Some((container, ContainerState::Running { .. }))
                if is_sidecar(spec) && started(observed, spec, container) => {}
            Some((_, ContainerState::Exited { exit_code: 0, .. })) if !is_sidecar(spec) => {}
            Some((_, ContainerState::Exited { .. })) if !is_sidecar(spec) && never(observed) => {
                return Init::Failed;
            }
            _ => return Init::At(index),
        }
    }
    Init::Done
}

/// Upstream's `getPhase`; a terminal phase once reported never changes.
pub(crate) fn phase(observed: &Observed, now: Timestamp) -> Phase {
    match observed
        .pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
    {
        Some("Succeeded") => return Phase::Succeeded,
        Some("Failed") => return Phase::Failed,
        _ if deadline(observed).is_some_and(|at| now >= at) => return Phase::Failed,
        _ => {}
    }
    match init(observed) {
        Init::Failed => return Phase::Failed,
        Init::At(_) => return Phase::Pending,
        Init::Done => {}
    }
    let policy = RestartPolicy::of(observed.spec);
    let (mut running, mut ended, mut failed) = (0, 0, 0);
    for spec in &observed.spec.containers {
        match observed
            .runtime
            .history(&spec.name)
            .next()
            .map(|container| &container.state)
        {
            Some(ContainerState::Running { .. } | ContainerState::Unknown) => running += 1,
            Some(ContainerState::Exited { exit_code, .. }) => {
                ended += 1;
                failed += usize::from(*exit_code != 0);
            }
            Some(ContainerState::Created) | None => return Phase::Pending,
        }
    }
    if running > 0 || ended == 0 || policy == RestartPolicy::Always {
        return Phase::Running;
    }
    match (failed, policy) {
        (0, _) => Phase::Succeeded,
        (_, RestartPolicy::Never) => Phase::Failed,
        _ => Phase::Running,
    }
}

/// When `activeDeadlineSeconds` ends the pod.
pub(crate) fn deadline(observed: &Observed) -> Option<Timestamp> {
    let seconds = observed.spec.active_deadline_seconds?;
    let start = observed.pod.status.as_ref()?.start_time.as_ref()?.0;
    Some(later(
        start,
        Duration::from_secs(seconds.max(0).unsigned_abs()),
    ))
}

/// The startup probe has passed, or there is none and it runs.
pub(crate) fn started(observed: &Observed, spec: &ContainerSpec, container: &Container) -> bool {
    let verdict = observed
        .probes
        .get(&container.id)
        .and_then(|verdicts| verdicts.startup);
    container.is_running() && (spec.startup_probe.is_none() || verdict == Some(true))
}

/// Running, started and not failing its readiness probe.
pub(crate) fn ready(observed: &Observed, spec: &ContainerSpec, container: &Container) -> bool {
    let verdict = observed
        .probes
        .get(&container.id)
        .and_then(|verdicts| verdicts.readiness);
    started(observed, spec, container) && (spec.readiness_probe.is_none() || verdict == Some(true))
}

/// A next run of a container: its restart count, its place in a row of crashes, and when it may start.
pub(crate) struct NextRun {
    pub attempt: u32,
    pub streak: u32,
    pub at: Option<Timestamp>,
    pub wait: Duration,
}

/// The first restart is immediate, then 10 s doubling to 300 s; a run of ten minutes starts the row anew.
pub(crate) fn next_run(last: Option<&Container>) -> NextRun {
    let Some(last) = last else {
        return NextRun {
            attempt: 0,
            streak: 0,
            at: None,
            wait: Duration::ZERO,
        };
    };
    let attempt = last.attempt + 1;
    let ContainerState::Exited {
        started_at,
        finished_at,
        ..
    } = last.state
    else {
        return NextRun {
            attempt,
            streak: last.streak,
            at: None,
            wait: Duration::ZERO,
        };
    };
    if finished_at.duration_since(started_at) >= CALM {
        return NextRun {
            attempt,
            streak: 1,
            at: None,
            wait: Duration::ZERO,
        };
    }
    let wait = crash_wait(last.streak);
    NextRun {
        attempt,
        streak: last.streak.saturating_add(1),
        at: Some(later(finished_at, wait)),
        wait,
    }
}

/// When a failed attempt (no such ConfigMap, no such image) is tried again.
pub(crate) fn retry_at(failure: &crate::Failure) -> Timestamp {
    let doublings = failure.count.saturating_sub(1).min(10);
    later(
        failure.at,
        (RETRY_FIRST * 2u32.pow(doublings)).min(RETRY_LIMIT),
    )
}

/// `at` plus `wait`, at most ten years on, so that no spec can overflow the clock.
pub(crate) fn later(at: Timestamp, wait: Duration) -> Timestamp {
    let wait = SignedDuration::try_from(wait.min(FAR)).unwrap_or(SignedDuration::ZERO);
    at.checked_add(wait).unwrap_or(at)
}

/// The newest sandbox, dead or alive; an empty id when there is none.
pub(crate) fn home<'a>(observed: &'a Observed) -> &'a str {
    observed
        .runtime
        .sandboxes
        .first()
        .map_or("", |sandbox| &sandbox.id)
}

fn never(observed: &Observed) -> bool {
    RestartPolicy::of(observed.spec) == RestartPolicy::Never
}

fn crash_wait(streak: u32) -> Duration {
    match streak {
        0 => Duration::ZERO,
        _ => (CRASH_FIRST * 2u32.pow((streak - 1).min(10))).min(CRASH_LIMIT),
    }
}

/// Upstream's CrashLoopBackOff: first wait, longest wait, and the run that ends the row.
const CRASH_FIRST: Duration = Duration::from_secs(10);
const CRASH_LIMIT: Duration = Duration::from_secs(300);
const CALM: SignedDuration = SignedDuration::from_secs(600);
/// A missing ConfigMap is usually applied a moment later, so the first retry is soon.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LIMIT: Duration = Duration::from_secs(30);
const FAR: Duration = Duration::from_secs(10 * 365 * 86400);
