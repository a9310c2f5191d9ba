//! The pod's conditions. Those of other writers are carried over.

use crate::observed::{Observed, Phase, is_sidecar};
use crate::phase::{self, Init};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// A condition's truth with, when false, its reason and message.
struct Judgement {
    truth: bool,
    reason: Option<String>,
    message: Option<String>,
}

impl Judgement {
    fn yes() -> Self {
        Judgement {
            truth: true,
            reason: None,
            message: None,
        }
    }

    fn no(reason: &str, message: Option<String>) -> Self {
        Judgement {
            truth: false,
            reason: Some(reason.into()),
            message,
        }
    }
}

/// Upstream's five in upstream's order, then everybody else's.
pub(crate) fn conditions(
    observed: &Observed,
    previous: &PodStatus,
    phase: Phase,
    [inits, mains]: [&[ContainerStatus]; 2],
    now: Timestamp,
) -> Vec<PodCondition> {
    let existing = previous.conditions.as_deref().unwrap_or_default();
    let network = observed
        .runtime
        .sandbox()
        .is_some_and(|sandbox| observed.spec.host_network == Some(true) || !sandbox.ips.is_empty());
    let network = if network {
        Judgement::yes()
    } else {
        Judgement {
            truth: false,
            reason: None,
            message: None,
        }
    };
    let containers = containers_ready(observed, phase, inits, mains);
    let ready = if containers.truth {
        gates(observed, existing)
    } else {
        copy(&containers)
    };
    let judged = [
        ("PodReadyToStartContainers", network),
        ("Initialized", initialized(observed, phase, inits)),
        ("Ready", ready),
        ("ContainersReady", containers),
        ("PodScheduled", Judgement::yes()),
    ];
    let foreign = existing
        .iter()
        .filter(|condition| judged.iter().all(|(kind, _)| *kind != condition.type_));
    let foreign: Vec<_> = foreign.cloned().collect();
    let own = judged
        .into_iter()
        .map(|(kind, judgement)| condition(observed, existing, kind, judgement, now));
    own.chain(foreign).collect()
}

fn condition(
    observed: &Observed,
    existing: &[PodCondition],
    kind: &str,
    judgement: Judgement,
    now: Timestamp,
) -> PodCondition {
    let status = if judgement.truth { "True" } else { "False" };
    let before = existing.iter().find(|condition| condition.type_ == kind);
    let since = before
        .filter(|before| before.status == status)
        .and_then(|before| before.last_transition_time.clone());
    PodCondition {
        type_: kind.into(),
        status: status.into(),
        reason: judgement.reason,
        message: judgement.message,
        last_transition_time: since.or(Some(Time(now))),
        last_probe_time: None,
        observed_generation: observed.pod.metadata.generation,
    }
}

fn initialized(observed: &Observed, phase: Phase, inits: &[ContainerStatus]) -> Judgement {
    match phase::init(observed) {
        Init::Done if phase == Phase::Succeeded => Judgement {
            truth: true,
            reason: Some("PodCompleted".into()),
            message: None,
        },
        Init::Done => Judgement::yes(),
        _ => {
            let names: Vec<_> = inits
                .iter()
                .filter(|init| !init.ready)
                .map(|init| init.name.as_str())
                .collect();
            let message = format!("containers with incomplete status: [{}]", names.join(" "));
            Judgement::no("ContainersNotInitialized", Some(message))
        }
    }
}

fn containers_ready(
    observed: &Observed,
    phase: Phase,
    inits: &[ContainerStatus],
    mains: &[ContainerStatus],
) -> Judgement {
    match phase {
        Phase::Succeeded => return Judgement::no("PodCompleted", None),
        Phase::Failed => return Judgement::no("PodFailed", None),
        Phase::Pending | Phase::Running => {}
    }
    let specs = observed.spec.init_containers.as_deref().unwrap_or_default();
    let sidecars = inits
        .iter()
        .zip(specs)
        .filter(|(_, spec)| is_sidecar(spec))
        .map(|(status, _)| status);
    let unready: Vec<_> = sidecars
        .chain(mains)
        .filter(|status| !status.ready)
        .map(|status| status.name.as_str())
        .collect();
    if unready.is_empty() {
        return Judgement::yes();
    }
    Judgement::no(
        "ContainersNotReady",
        Some(format!(
            "containers with unready status: [{}]",
            unready.join(" ")
        )),
    )
}

fn gates(observed: &Observed, existing: &[PodCondition]) -> Judgement {
    let passed = |kind: &str| {
        existing
            .iter()
            .any(|condition| condition.type_ == kind && condition.status == "True")
    };
    let gates = observed.spec.readiness_gates.iter().flatten();
    let closed = gates.filter(|gate| !passed(&gate.condition_type));
    let closed: Vec<_> = closed
        .map(|gate| {
            format!(
                "corresponding condition of pod readiness gate {:?} does not exist or is not True.",
                gate.condition_type
            )
        })
        .collect();
    if closed.is_empty() {
        Judgement::yes()
    } else {
        Judgement::no("ReadinessGatesNotReady", Some(closed.join(", ")))
    }
}

fn copy(judgement: &Judgement) -> Judgement {
    Judgement {
        truth: judgement.truth,
        reason: judgement.reason.clone(),
        message: judgement.message.clone(),
    }
}
