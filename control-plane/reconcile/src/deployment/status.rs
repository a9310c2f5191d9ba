//! The status of a Deployment: counts, and the three conditions people wait on.

use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{Rollout, Set};

const NEW_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// What the Progressing condition is about to say.
pub(super) struct Progress {
    pub status: &'static str,
    pub reason: &'static str,
    pub message: String,
}

impl Progress {
    pub fn into_condition(self, now: Timestamp) -> DeploymentCondition {
        condition("Progressing", self.status, self.reason, self.message, now)
    }
}

impl Rollout<'_> {
    pub(super) fn has_deadline(&self) -> bool {
        self.spec
            .progress_deadline_seconds
            .is_some_and(|seconds| seconds != i32::MAX)
    }

    pub(super) fn condition(&self, kind: &str) -> Option<&DeploymentCondition> {
        self.conditions
            .iter()
            .find(|condition| condition.type_.as_deref() == Some(kind))
    }

    /// Pausing stops the progress clock; resuming starts it anew.
    pub(super) fn note_pause(&mut self) {
        let reason = self
            .condition("Progressing")
            .and_then(|condition| condition.reason.clone());
        if !self.has_deadline() || reason.as_deref() == Some(TIMED_OUT) {
            return;
        }
        let paused = self.spec.paused == Some(true);
        let progress = match (paused, reason.as_deref() == Some(PAUSED)) {
            (true, false) => Progress {
                status: "Unknown",
                reason: PAUSED,
                message: "Deployment is paused".into(),
            },
            (false, true) => Progress {
                status: "Unknown",
                reason: "DeploymentResumed",
                message: "Deployment is resumed".into(),
            },
            _ => return,
        };
        set_condition(&mut self.conditions, progress.into_condition(self.now));
    }

    /// Whether the recorded status says the rollout is over.
    pub(super) fn is_recorded_complete(&self) -> bool {
        self.deployment
            .status
            .as_ref()
            .is_some_and(|status| self.is_complete(status))
    }

    fn is_complete(&self, status: &DeploymentStatus) -> bool {
        let is_desired = |count: Option<i32>| count.unwrap_or(0) == self.budget.desired;
        is_desired(status.updated_replicas)
            && is_desired(status.replicas)
            && is_desired(status.available_replicas)
            && status.observed_generation >= self.deployment.metadata.generation
    }

    /// The status after this plan's decisions; also plans the look that notices a missed deadline.
    pub(super) fn status(&mut self) -> DeploymentStatus {
        let mut status = self.counts();
        self.judge_availability(&status);
        // While paused or under deletion nothing progresses, so nothing is judged.
        if self.deployment.metadata.deletion_timestamp.is_none() && self.spec.paused != Some(true) {
            self.judge_progress(&status);
        }
        self.judge_failures();
        status.conditions =
            Some(std::mem::take(&mut self.conditions)).filter(|conditions| !conditions.is_empty());
        self.watch_the_deadline(&status);
        status
    }

    fn counts(&self) -> DeploymentStatus {
        let nonzero = |count: i32| Some(count).filter(|count| *count != 0);
        let available = self.total_available();
        let terminating: Vec<i32> = self.sets.iter().filter_map(Set::terminating).collect();
        DeploymentStatus {
            observed_generation: self.deployment.metadata.generation,
            replicas: nonzero(self.sets.iter().map(Set::actual).sum()),
            updated_replicas: nonzero(self.new.map_or(0, |index| self.sets[index].actual())),
            ready_replicas: nonzero(self.sets.iter().map(Set::ready).sum()),
            available_replicas: nonzero(available),
            unavailable_replicas: nonzero((self.total_replicas() - available).max(0)),
            terminating_replicas: (!terminating.is_empty()).then(|| terminating.iter().sum()),
            collision_count: self.collisions,
            conditions: None,
        }
    }

    fn judge_availability(&mut self, status: &DeploymentStatus) {
        let enough = status.available_replicas.unwrap_or(0) >= self.budget.minimum_available();
        let condition = if enough {
            let message = "Deployment has minimum availability.".to_owned();
            condition(
                "Available",
                "True",
                "MinimumReplicasAvailable",
                message,
                self.now,
            )
        } else {
            let message = "Deployment does not have minimum availability.".to_owned();
            condition(
                "Available",
                "False",
                "MinimumReplicasUnavailable",
                message,
                self.now,
            )
        };
        set_condition(&mut self.conditions, condition);
    }

    fn judge_progress(&mut self, status: &DeploymentStatus) {
        if !self.has_deadline() {
            self.conditions
                .retain(|condition| condition.type_.as_deref() != Some("Progressing"));
            return;
        }
        let current = self.condition("Progressing").cloned();
        let reason = current
            .as_ref()
            .and_then(|condition| condition.reason.as_deref());
        if status.replicas == status.updated_replicas && reason == Some(NEW_SET_AVAILABLE) {
            return;
        }
        let subject = match self.new {
            Some(index) => format!("ReplicaSet {:?}", self.sets[index].name()),
            None => format!(
                "Deployment {:?}",
                self.deployment.metadata.name.as_deref().unwrap_or_default()
            ),
        };
        if self.is_complete(status) {
            let message = format!("{subject} has successfully progressed.");
            let progress = Progress {
                status: "True",
                reason: NEW_SET_AVAILABLE,
                message,
            };
            set_condition(&mut self.conditions, progress.into_condition(self.now));
        } else if self.has_progressed(status) {
            let message = format!("{subject} is progressing.");
            let mut updated = Progress {
                status: "True",
                reason: "ReplicaSetUpdated",
                message,
            }
            .into_condition(self.now);
            // Each step restarts the clock even when the reason stays, so the condition is replaced, not merged.
            if let Some(current) =
                current.filter(|current| current.status.as_deref() == Some("True"))
            {
                updated.last_transition_time = current.last_transition_time;
            }
            self.conditions
                .retain(|condition| condition.type_.as_deref() != Some("Progressing"));
            self.conditions.push(updated);
        } else if self.has_timed_out(current.as_ref()) {
            let message = format!("{subject} has timed out progressing.");
            let progress = Progress {
                status: "False",
                reason: TIMED_OUT,
                message,
            };
            set_condition(&mut self.conditions, progress.into_condition(self.now));
        }
    }

    fn has_progressed(&self, status: &DeploymentStatus) -> bool {
        let before = self.deployment.status.clone().unwrap_or_default();
        let old = |status: &DeploymentStatus| {
            status.replicas.unwrap_or(0) - status.updated_replicas.unwrap_or(0)
        };
        status.updated_replicas.unwrap_or(0) > before.updated_replicas.unwrap_or(0)
            || old(status) < old(&before)
            || status.ready_replicas.unwrap_or(0) > before.ready_replicas.unwrap_or(0)
            || status.available_replicas.unwrap_or(0) > before.available_replicas.unwrap_or(0)
    }

    fn has_timed_out(&self, current: Option<&DeploymentCondition>) -> bool {
        let Some(current) = current else { return false };
        match current.reason.as_deref() {
            Some(NEW_SET_AVAILABLE) => false,
            Some(TIMED_OUT) => true,
            _ => self
                .deadline(current)
                .is_some_and(|deadline| deadline < self.now),
        }
    }

    fn deadline(&self, current: &DeploymentCondition) -> Option<Timestamp> {
        let seconds = self.spec.progress_deadline_seconds?.into();
        current
            .last_update_time
            .as_ref()?
            .0
            .checked_add(SignedDuration::from_secs(seconds))
            .ok()
    }

    fn judge_failures(&mut self) {
        let order = self.new.into_iter().chain(self.old());
        let failure = order.into_iter().find_map(|index| {
            let status = self.sets[index].desired.status.as_ref()?;
            status
                .conditions
                .iter()
                .flatten()
                .find(|condition| condition.type_.as_deref() == Some("ReplicaFailure"))
        });
        match failure.cloned() {
            Some(failure) => {
                let status = failure.status.unwrap_or_default();
                let (reason, message) = (
                    failure.reason.unwrap_or_default(),
                    failure.message.unwrap_or_default(),
                );
                let condition = condition("ReplicaFailure", &status, &reason, message, self.now);
                set_condition(&mut self.conditions, condition);
            }
            None => self
                .conditions
                .retain(|condition| condition.type_.as_deref() != Some("ReplicaFailure")),
        }
    }

    fn watch_the_deadline(&mut self, status: &DeploymentStatus) {
        if !self.has_deadline() || self.spec.paused == Some(true) || self.is_complete(status) {
            return;
        }
        let progressing = status
            .conditions
            .iter()
            .flatten()
            .find(|condition| condition.type_.as_deref() == Some("Progressing"));
        let Some(current) =
            progressing.filter(|condition| condition.reason.as_deref() != Some(TIMED_OUT))
        else {
            return;
        };
        if current.reason.as_deref() == Some(NEW_SET_AVAILABLE) {
            return;
        }
        if let Some(deadline) = self.deadline(current) {
            self.plan
                .look_again_in(deadline.duration_since(self.now) + SignedDuration::from_secs(1));
        }
    }
}

fn condition(
    kind: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) -> DeploymentCondition {
    DeploymentCondition {
        type_: Some(kind.to_owned()),
        status: Some(status.to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

/// Sets a condition; the same status and reason are left alone, so times mean change.
pub(super) fn set_condition(
    conditions: &mut Vec<DeploymentCondition>,
    mut updated: DeploymentCondition,
) {
    let Some(current) = conditions
        .iter_mut()
        .find(|condition| condition.type_ == updated.type_)
    else {
        conditions.push(updated);
        return;
    };
    if current.status == updated.status && current.reason == updated.reason {
        return;
    }
    if current.status == updated.status {
        updated.last_transition_time = current.last_transition_time.clone();
    }
    *current = updated;
}
