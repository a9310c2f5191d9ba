//! ReplicaSet: as many active pods as asked for, and the status of those there are.

mod rank;
mod status;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::jiff::Timestamp;

use crate::expectations::Expectations;
use crate::plan::{Action, Object, Plan, Target};
use crate::{owner, pod};

/// Most pods made or removed in one plan, so one owner cannot starve the others (as upstream).
pub const BURST: usize = 500;

/// What one ReplicaSet's decision needs.
pub struct Observed<'a> {
    pub replica_set: &'a ReplicaSet,
    /// Every Pod of the namespace.
    pub pods: &'a [Arc<Pod>],
    /// Every ReplicaSet of the namespace: siblings decide which node is crowded.
    pub replica_sets: &'a [Arc<ReplicaSet>],
    pub expectations: &'a Expectations,
    /// What the last batch ran into, if it failed.
    pub failure: Option<&'a Failure>,
}

/// A batch that did not go through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub stage: Stage,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Create,
    Delete,
}

/// Decides which pods to make or remove. Nothing is made or removed while an earlier batch is not yet visible.
pub fn plan(observed: &Observed<'_>, now: Timestamp) -> Plan {
    let set = observed.replica_set;
    let spec = &set.spec;
    let claim = owner::claim(set, &spec.selector, observed.pods);
    let mut plan = Plan {
        actions: claim.actions,
        ..Plan::default()
    };
    let active: Vec<Arc<Pod>> = claim
        .held
        .iter()
        .filter(|pod| pod::is_active(pod))
        .cloned()
        .collect();
    let terminating = claim
        .held
        .iter()
        .filter(|pod| pod::is_terminating(pod))
        .count();
    if !observed.expectations.satisfied(now) {
        plan.requeue_after = observed.expectations.forgiven_in(now);
    } else if set.metadata.deletion_timestamp.is_none() {
        plan.actions.extend(size(observed, spec, &active));
    }
    status::settle(&mut plan, observed, spec, &active, terminating, now);
    plan
}

fn size(observed: &Observed<'_>, spec: &ReplicaSetSpec, active: &[Arc<Pod>]) -> Vec<Action> {
    let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
    if active.len() < wanted {
        let missing = (wanted - active.len()).min(BURST);
        return vec![
            Action::Create(Object::Pod(Box::new(new_pod(observed.replica_set, spec))));
            missing
        ];
    }
    let surplus = (active.len() - wanted).min(BURST);
    if surplus == 0 {
        return Vec::new();
    }
    let crowd = rank::Crowd::count(observed.replica_set, observed.replica_sets, observed.pods);
    let mut ranked = active.to_vec();
    ranked.sort_by(|left, right| rank::deletion_order(left, right, &crowd));
    ranked
        .iter()
        .take(surplus)
        .map(|pod| Action::delete(Target::of(&**pod)))
        .collect()
}

fn new_pod(set: &ReplicaSet, spec: &ReplicaSetSpec) -> Pod {
    let template = spec.template.clone().unwrap_or_default();
    let metadata = template.metadata.unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!(
                "{}-",
                set.metadata.name.as_deref().unwrap_or_default()
            )),
            namespace: set.metadata.namespace.clone(),
            labels: metadata.labels,
            annotations: metadata.annotations,
            finalizers: metadata.finalizers,
            owner_references: Some(vec![owner::reference_to(set)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

/// Labels every pod of the template carries.
fn template_labels(spec: &ReplicaSetSpec) -> LabelSelector {
    let metadata = spec
        .template
        .as_ref()
        .and_then(|template| template.metadata.as_ref());
    LabelSelector {
        match_labels: metadata.and_then(|metadata| metadata.labels.clone()),
        match_expressions: None,
    }
}
