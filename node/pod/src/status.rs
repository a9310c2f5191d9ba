//! Observed pod → `status`. Fields of other writers (qosClass, nominatedNodeName, foreign conditions) are carried over.

use crate::conditions::conditions;
use crate::observed::{Container, ContainerState, Observed, RestartPolicy, SANDBOX, is_sidecar};
use crate::phase::{self, Init};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container as ContainerSpec, ContainerState as ApiState, ContainerStateRunning,
    ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, HostIP, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The status the pod has earned. Equal to the API's when nothing needs to be written.
pub fn status(observed: &Observed, now: Timestamp) -> PodStatus {
    let previous = observed.pod.status.clone().unwrap_or_default();
    let phase = phase::phase(observed, now);
    let mut next = PodStatus {
        phase: Some(phase.name().into()),
        observed_generation: observed.pod.metadata.generation,
        start_time: previous.start_time.clone().or(Some(Time(now))),
        ..previous.clone()
    };
    if phase::deadline(observed).is_some_and(|at| now >= at) {
        next.reason = Some("DeadlineExceeded".into());
        next.message = Some("Pod was active on the node longer than the specified deadline".into());
    }
    addresses(observed, &mut next);
    let inits = observed.spec.init_containers.as_deref().unwrap_or_default();
    let before = |name: &str| {
        let lists = [
            &previous.init_container_statuses,
            &previous.container_statuses,
        ];
        lists
            .into_iter()
            .flatten()
            .flatten()
            .find(|status| status.name == name)
            .cloned()
    };
    let one = |spec: &ContainerSpec| container_status(observed, spec, before(&spec.name), now);
    let init_statuses: Vec<_> = inits.iter().map(one).collect();
    let statuses: Vec<_> = observed.spec.containers.iter().map(one).collect();
    next.conditions = Some(conditions(
        observed,
        &previous,
        phase,
        [&init_statuses, &statuses],
        now,
    ));
    next.init_container_statuses = (!init_statuses.is_empty()).then_some(init_statuses);
    next.container_statuses = Some(statuses);
    next
}

fn addresses(observed: &Observed, next: &mut PodStatus) {
    let hosts = observed.host_ips;
    next.host_ip = hosts.first().map(ToString::to_string);
    next.host_ips = (!hosts.is_empty()).then(|| {
        hosts
            .iter()
            .map(|ip| HostIP { ip: ip.to_string() })
            .collect()
    });
    let own = observed
        .runtime
        .sandbox()
        .map(|sandbox| sandbox.ips.as_slice())
        .unwrap_or_default();
    let ips = if observed.spec.host_network == Some(true) {
        hosts
    } else {
        own
    };
    // A finished pod keeps the address it had, as upstream's does.
    if !ips.is_empty() {
        next.pod_ip = ips.first().map(ToString::to_string);
        next.pod_ips = Some(ips.iter().map(|ip| PodIP { ip: ip.to_string() }).collect());
    }
}

fn container_status(
    observed: &Observed,
    spec: &ContainerSpec,
    before: Option<ContainerStatus>,
    now: Timestamp,
) -> ContainerStatus {
    let latest = observed.runtime.history(&spec.name).next();
    let state = state(observed, spec, latest, now);
    let earlier = match (&state.waiting, latest) {
        (Some(_), Some(latest)) if is_exited(latest) => Some(latest),
        _ => observed.runtime.history(&spec.name).nth(1),
    };
    let last = earlier.and_then(terminated).map(|ended| ApiState {
        terminated: Some(ended),
        ..ApiState::default()
    });
    let restarts = latest.map_or(0, |container| {
        i32::try_from(container.attempt).unwrap_or(i32::MAX)
    });
    let remembered = before
        .filter(|before| before.restart_count == restarts)
        .and_then(|before| before.last_state);
    let current = latest.filter(|container| container.is_running());
    let is_main = observed
        .spec
        .containers
        .iter()
        .any(|main| main.name == spec.name);
    let done = !is_main && !is_sidecar(spec) && latest.is_some_and(succeeded);
    ContainerStatus {
        name: spec.name.clone(),
        state: Some(state),
        last_state: last.or(remembered).or_else(|| Some(ApiState::default())),
        ready: done || current.is_some_and(|container| phase::ready(observed, spec, container)),
        started: Some(current.is_some_and(|container| phase::started(observed, spec, container))),
        restart_count: restarts,
        image: spec.image.clone().unwrap_or_default(),
        image_id: latest
            .map(|container| container.image_id.clone())
            .unwrap_or_default(),
        container_id: latest.map(|container| format!("containerd://{}", container.id)),
        resources: spec.resources.clone(),
        allocated_resources: spec
            .resources
            .as_ref()
            .and_then(|resources| resources.requests.clone()),
        ..ContainerStatus::default()
    }
}

fn state(
    observed: &Observed,
    spec: &ContainerSpec,
    latest: Option<&Container>,
    now: Timestamp,
) -> ApiState {
    let failure = observed
        .failures
        .get(&spec.name)
        .or_else(|| observed.failures.get(SANDBOX));
    match latest.map(|container| (container, &container.state)) {
        Some((_, ContainerState::Running { started_at })) => ApiState {
            running: Some(ContainerStateRunning {
                started_at: Some(Time(*started_at)),
            }),
            ..ApiState::default()
        },
        Some((container, ContainerState::Exited { exit_code, .. })) => {
            if let Some(failure) = failure {
                return waiting(&failure.reason, Some(failure.message.clone()));
            }
            let run = phase::next_run(Some(container));
            let policy = policy(observed, spec);
            let waits = run.at.is_some_and(|at| at > now) && policy.restarts_after(*exit_code);
            let alive = observed.pod.metadata.deletion_timestamp.is_none()
                && !phase::phase(observed, now).is_terminal();
            if waits && alive {
                return waiting(
                    "CrashLoopBackOff",
                    Some(back_off_message(observed, spec, run.wait.as_secs())),
                );
            }
            ApiState {
                terminated: terminated(container),
                ..ApiState::default()
            }
        }
        _ => match (failure, phase::init(observed)) {
            (Some(failure), _) => waiting(&failure.reason, Some(failure.message.clone())),
            (None, Init::At(_)) if !is_init_next(observed, spec) => {
                waiting("PodInitializing", None)
            }
            _ => waiting("ContainerCreating", None),
        },
    }
}

fn is_init_next(observed: &Observed, spec: &ContainerSpec) -> bool {
    let inits = observed.spec.init_containers.as_deref().unwrap_or_default();
    matches!(phase::init(observed), Init::At(index) if inits[index].name == spec.name)
}

fn policy(observed: &Observed, spec: &ContainerSpec) -> RestartPolicy {
    let is_main = observed
        .spec
        .containers
        .iter()
        .any(|main| main.name == spec.name);
    match (RestartPolicy::of(observed.spec), is_main) {
        _ if is_sidecar(spec) => RestartPolicy::Always,
        (RestartPolicy::Always, false) => RestartPolicy::OnFailure,
        (policy, _) => policy,
    }
}

fn back_off_message(observed: &Observed, spec: &ContainerSpec, seconds: u64) -> String {
    let wait = match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    };
    let meta = &observed.pod.metadata;
    let [name, namespace, uid] =
        [&meta.name, &meta.namespace, &meta.uid].map(|part| part.as_deref().unwrap_or(""));
    format!(
        "back-off {wait} restarting failed container={} pod={name}_{namespace}({uid})",
        spec.name
    )
}

fn waiting(reason: &str, message: Option<String>) -> ApiState {
    ApiState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.into()),
            message,
        }),
        ..ApiState::default()
    }
}

fn is_exited(container: &Container) -> bool {
    matches!(container.state, ContainerState::Exited { .. })
}

fn succeeded(container: &Container) -> bool {
    matches!(container.state, ContainerState::Exited { exit_code: 0, .. })
}

fn terminated(container: &Container) -> Option<ContainerStateTerminated> {
    let ContainerState::Exited {
        started_at,
        finished_at,
        exit_code,
        reason,
        message,
    } = &container.state
    else {
        return None;
    };
    Some(ContainerStateTerminated {
        container_id: Some(format!("containerd://{}", container.id)),
        exit_code: *exit_code,
        started_at: Some(Time(*started_at)),
        finished_at: Some(Time(*finished_at)),
        reason: (!reason.is_empty()).then(|| reason.clone()),
        message: (!message.is_empty()).then(|| message.clone()),
        signal: None,
    })
}
