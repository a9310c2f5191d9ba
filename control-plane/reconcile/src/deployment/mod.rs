//! Deployment: which ReplicaSet is the new one, and how many replicas each may have now.
//!
//! Facts: `pkg/controller/deployment` upstream. The working state is [`Rollout`]; every stage edits the desired half of a
//! [`Set`], and the actions are the difference from the observed half.

mod budget;
mod recreate;
mod revision;
mod rolling;
mod scaling;
mod status;
mod template;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentCondition, DeploymentSpec, DeploymentStatus, ReplicaSet,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use crate::expectations::Written;
use crate::plan::{Action, Note, Object, Plan, Target};
use crate::{owner, selector};
use budget::Budget;

/// What one Deployment's decision needs.
pub struct Observed<'a> {
    pub deployment: &'a Deployment,
    /// Every ReplicaSet of the namespace: owned ones, orphans to adopt, strangers that occupy names.
    pub replica_sets: &'a [Arc<ReplicaSet>],
    /// Every Pod of the namespace; only the Recreate strategy looks at them.
    pub pods: &'a [Arc<Pod>],
    /// The ReplicaSets this Deployment's last plans wrote.
    pub written: &'a Written,
}

/// Decides the next step of a rollout.
pub fn plan(observed: &Observed<'_>, now: Timestamp) -> Plan {
    let deployment = observed.deployment;
    let spec = &deployment.spec;
    if selector::is_empty(&spec.selector) {
        return refuse_to_select_everything(deployment);
    }
    let cached = observed.replica_sets.iter().map(|set| &set.metadata);
    if let Some(wait) = observed.written.missing_from(cached, now) {
        return Plan {
            requeue_after: Some(wait),
            ..Plan::default()
        };
    }
    let claim = owner::claim(deployment, &spec.selector, observed.replica_sets);
    let mut rollout = Rollout::new(observed, spec, claim.held, now);
    rollout.plan.actions = claim.actions;
    if deployment.metadata.deletion_timestamp.is_none() {
        rollout.note_pause();
        rollout.advance();
    }
    rollout.finish()
}

fn refuse_to_select_everything(deployment: &Deployment) -> Plan {
    let mut plan = Plan::default();
    let message =
        "This deployment is selecting all pods. A non-empty selector is required.".to_owned();
    plan.events.push(Note::warning(
        Target::of(deployment),
        "SelectingAll",
        message,
    ));
    let status = deployment.status.clone().unwrap_or_default();
    if status.observed_generation < deployment.metadata.generation {
        let mut updated = deployment.clone();
        updated.status = Some(DeploymentStatus {
            observed_generation: deployment.metadata.generation,
            ..status
        });
        plan.status = Some(Object::Deployment(Box::new(updated)));
    }
    plan
}

/// One ReplicaSet: as seen, and as it should be.
struct Set {
    /// `None` when this plan creates it.
    observed: Option<Arc<ReplicaSet>>,
    desired: ReplicaSet,
}

impl Set {
    fn name(&self) -> &str {
        self.desired.metadata.name.as_deref().unwrap_or_default()
    }

    fn replicas(&self) -> i32 {
        self.desired.spec.replicas.unwrap_or(0)
    }

    fn available(&self) -> i32 {
        self.desired
            .status
            .as_ref()
            .and_then(|status| status.available_replicas)
            .unwrap_or(0)
    }

    fn actual(&self) -> i32 {
        self.desired
            .status
            .as_ref()
            .map_or(0, |status| status.replicas)
    }

    fn ready(&self) -> i32 {
        self.desired
            .status
            .as_ref()
            .and_then(|status| status.ready_replicas)
            .unwrap_or(0)
    }

    fn terminating(&self) -> Option<i32> {
        self.desired
            .status
            .as_ref()
            .and_then(|status| status.terminating_replicas)
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.desired
            .metadata
            .annotations
            .as_ref()?
            .get(key)
            .map(String::as_str)
    }

    fn annotate(&mut self, key: &str, value: String) {
        self.desired
            .metadata
            .annotations
            .get_or_insert_default()
            .insert(key.to_owned(), value);
    }
}

/// The working state of one decision.
struct Rollout<'a> {
    observed: &'a Observed<'a>,
    deployment: &'a Deployment,
    spec: &'a DeploymentSpec,
    budget: Budget,
    now: Timestamp,
    /// Oldest first.
    sets: Vec<Set>,
    /// Index of the set whose template is the Deployment's.
    new: Option<usize>,
    conditions: Vec<DeploymentCondition>,
    collisions: Option<i32>,
    plan: Plan,
    /// The revision annotation changes the Deployment itself: its status waits for the event of that change.
    revision: Option<Action>,
}

impl<'a> Rollout<'a> {
    fn new(
        observed: &'a Observed<'a>,
        spec: &'a DeploymentSpec,
        mut held: Vec<Arc<ReplicaSet>>,
        now: Timestamp,
    ) -> Self {
        held.sort_by(|left, right| age_order(left).cmp(&age_order(right)));
        let sets: Vec<Set> = held
            .into_iter()
            .map(|set| Set {
                desired: ReplicaSet::clone(&set),
                observed: Some(set),
            })
            .collect();
        let new = sets.iter().position(|set| {
            set.desired
                .spec
                .template
                .as_ref()
                .is_some_and(|template| template::same(template, &spec.template))
        });
        let status = observed.deployment.status.as_ref();
        Self {
            observed,
            deployment: observed.deployment,
            spec,
            budget: Budget::of(spec),
            now,
            sets,
            new,
            conditions: status
                .and_then(|status| status.conditions.clone())
                .unwrap_or_default(),
            collisions: status.and_then(|status| status.collision_count),
            plan: Plan::default(),
            revision: None,
        }
    }

    fn advance(&mut self) {
        if self.spec.paused == Some(true) || self.is_scaling() {
            self.sync_revision();
            self.scale_as_is();
            if self.spec.paused == Some(true) {
                self.clean_up_history();
            }
        } else if self
            .spec
            .strategy
            .as_ref()
            .and_then(|strategy| strategy.type_.as_deref())
            == Some("Recreate")
        {
            self.recreate();
        } else {
            self.roll();
        }
    }

    /// Indices of all sets but the new one, oldest first.
    fn old(&self) -> Vec<usize> {
        (0..self.sets.len())
            .filter(|index| Some(*index) != self.new)
            .collect()
    }

    fn total_replicas(&self) -> i32 {
        self.sets.iter().map(Set::replicas).sum()
    }

    fn total_available(&self) -> i32 {
        self.sets.iter().map(Set::available).sum()
    }

    /// Sets a size and records what it was decided for. Returns whether the size changed.
    fn scale(&mut self, index: usize, replicas: i32) -> bool {
        let (desired, maximum) = (self.budget.desired, self.budget.maximum());
        let set = &mut self.sets[index];
        let before = set.replicas();
        set.annotate(DESIRED_REPLICAS, desired.to_string());
        set.annotate(MAX_REPLICAS, maximum.to_string());
        if before == replicas {
            return false;
        }
        set.desired.spec.replicas = Some(replicas);
        let direction = if replicas > before { "up" } else { "down" };
        let message = format!(
            "Scaled {direction} replica set {} from {before} to {replicas}",
            set.name()
        );
        self.plan.events.push(Note::normal(
            Target::of(self.deployment),
            "ScalingReplicaSet",
            message,
        ));
        true
    }

    /// Deletes the oldest idle revisions beyond `revisionHistoryLimit`.
    fn clean_up_history(&mut self) {
        let limit = self.spec.revision_history_limit.unwrap_or(DEFAULT_HISTORY);
        let mut old = self.old();
        old.retain(|index| {
            self.sets[*index]
                .desired
                .metadata
                .deletion_timestamp
                .is_none()
        });
        let Some(excess) = old
            .len()
            .checked_sub(usize::try_from(limit).unwrap_or(usize::MAX))
        else {
            return;
        };
        old.sort_by_key(|index| revision::of(&self.sets[*index].desired.metadata));
        for index in old.into_iter().take(excess) {
            let set = &self.sets[index];
            let observed_generation = set
                .desired
                .status
                .as_ref()
                .and_then(|status| status.observed_generation);
            let settled = set.desired.metadata.generation <= observed_generation;
            if set.actual() == 0 && set.replicas() == 0 && settled {
                self.plan
                    .actions
                    .push(Action::delete(Target::of(&set.desired)));
            }
        }
    }

    /// Turns the desired halves into actions and closes the plan with the status.
    fn finish(mut self) -> Plan {
        let status = self.status();
        for set in &self.sets {
            match &set.observed {
                None => self
                    .plan
                    .actions
                    .push(Action::Create(Object::ReplicaSet(Box::new(
                        set.desired.clone(),
                    )))),
                Some(observed) => self.plan.actions.extend(change(observed, &set.desired)),
            }
        }
        // Last, because nothing waits for it.
        self.plan.actions.extend(self.revision.clone());
        if self.revision.is_none() && self.deployment.status.as_ref() != Some(&status) {
            let mut updated = self.deployment.clone();
            updated.status = Some(status);
            self.plan.status = Some(Object::Deployment(Box::new(updated)));
        }
        self.plan
    }
}

/// The patch from one ReplicaSet to the other, under the observed resourceVersion.
fn change(observed: &ReplicaSet, desired: &ReplicaSet) -> Option<Action> {
    let mut patch = json!({});
    let (before, after) = (
        &observed.metadata.annotations,
        &desired.metadata.annotations,
    );
    let annotations: serde_json::Map<_, _> = after
        .iter()
        .flatten()
        .filter(|(key, value)| before.as_ref().and_then(|before| before.get(*key)) != Some(value))
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    if !annotations.is_empty() {
        patch["metadata"]["annotations"] = annotations.into();
    }
    let (before, after) = (&observed.spec, &desired.spec);
    if before.replicas != after.replicas {
        patch["spec"]["replicas"] = json!(after.replicas);
    }
    if before.min_ready_seconds != after.min_ready_seconds {
        patch["spec"]["minReadySeconds"] = json!(after.min_ready_seconds);
    }
    if patch == json!({}) {
        return None;
    }
    patch["metadata"]["resourceVersion"] = json!(observed.metadata.resource_version);
    Some(Action::Patch {
        target: Target::of(observed),
        patch,
    })
}

fn age_order(set: &ReplicaSet) -> (Option<Timestamp>, Option<&str>) {
    (
        set.metadata.creation_timestamp.as_ref().map(|time| time.0),
        set.metadata.name.as_deref(),
    )
}

const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
/// The API's default for `revisionHistoryLimit`.
const DEFAULT_HISTORY: i32 = 10;
