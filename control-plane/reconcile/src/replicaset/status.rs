//! The status of a ReplicaSet, and when a ready pod will count as available.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::{Observed, Stage, template_labels};
use crate::plan::{Object, Plan};
use crate::{pod, selector};

/// Adds the status, if it differs, and the next look.
pub(super) fn settle(
    plan: &mut Plan,
    observed: &Observed<'_>,
    spec: &ReplicaSetSpec,
    active: &[Arc<Pod>],
    terminating: usize,
    now: Timestamp,
) {
    let set = observed.replica_set;
    let labels = template_labels(spec);
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let count = |test: &dyn Fn(&Pod) -> bool| number(active.iter().filter(|pod| test(pod)).count());
    let nonzero = |count: i32| Some(count).filter(|count| *count != 0);
    let status = ReplicaSetStatus {
        replicas: number(active.len()),
        fully_labeled_replicas: nonzero(count(&|pod| {
            selector::matches(&labels, pod.metadata.labels.as_ref())
        })),
        ready_replicas: nonzero(count(&pod::is_ready)),
        available_replicas: nonzero(count(&|pod| pod::is_available(pod, min_ready, now))),
        terminating_replicas: Some(number(terminating)),
        observed_generation: set.metadata.generation,
        conditions: conditions(observed, now),
    };
    let upcoming = active
        .iter()
        .filter_map(|pod| pod::available_at(pod, min_ready))
        .filter(|at| *at > now)
        .min();
    if let Some(at) = upcoming {
        plan.look_again_in(at.duration_since(now));
    }
    if set.status.as_ref() != Some(&status) {
        let mut updated = set.clone();
        updated.status = Some(status);
        plan.status = Some(Object::ReplicaSet(Box::new(updated)));
    }
}

fn conditions(observed: &Observed<'_>, now: Timestamp) -> Option<Vec<ReplicaSetCondition>> {
    let current = observed
        .replica_set
        .status
        .as_ref()
        .and_then(|status| status.conditions.clone());
    let mut conditions = current.unwrap_or_default();
    let standing = conditions
        .iter()
        .any(|condition| condition.type_.as_deref() == Some(FAILURE));
    match observed.failure {
        Some(_) if standing => {}
        Some(failure) => conditions.push(ReplicaSetCondition {
            type_: Some(FAILURE.to_owned()),
            status: Some("True".to_owned()),
            reason: Some(match failure.stage {
                Stage::Create => "FailedCreate".to_owned(),
                Stage::Delete => "FailedDelete".to_owned(),
            }),
            message: Some(failure.message.clone()),
            last_transition_time: Some(Time(now)),
        }),
        None => conditions.retain(|condition| condition.type_.as_deref() != Some(FAILURE)),
    }
    Some(conditions).filter(|conditions| !conditions.is_empty())
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

const FAILURE: &str = "ReplicaFailure";
