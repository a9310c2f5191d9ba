//! Revisions: the annotation that numbers ReplicaSets, and making the new one.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::SignedDuration;
use serde_json::json;

use super::status::{Progress, set_condition};
use super::template::{self, HASH_LABEL};
use super::{DESIRED_REPLICAS, MAX_REPLICAS, Rollout, Set};
use crate::owner;
use crate::plan::{Action, Note, Target};

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// Annotations of a Deployment that must not travel to its ReplicaSets.
const NOT_COPIED: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
];

/// The revision an object is annotated with; 0 if none.
pub(super) fn of(metadata: &ObjectMeta) -> i64 {
    let text = metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(REVISION));
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Whether a new ReplicaSet now exists or is being made.
#[derive(PartialEq, Eq)]
pub(super) enum NewSet {
    Present,
    /// Its name is taken by a stranger: the collision count was raised, try again.
    Collided,
}

impl Rollout<'_> {
    /// Brings the new set's annotations up to date, if there is one.
    pub(super) fn sync_revision(&mut self) {
        let Some(index) = self.new else { return };
        let revision = self.next_revision();
        let copied = self.copied_annotations();
        let min_ready = self.spec.min_ready_seconds;
        let set = &mut self.sets[index];
        for (key, value) in copied {
            set.annotate(&key, value);
        }
        let current = of(&set.desired.metadata);
        if current < revision {
            if current > 0 {
                let history = set
                    .annotation(REVISION_HISTORY)
                    .map(|past| format!("{past},"))
                    .unwrap_or_default();
                set.annotate(REVISION_HISTORY, format!("{history}{current}"));
            }
            set.annotate(REVISION, revision.to_string());
        }
        let spec = &mut set.desired.spec;
        if spec.min_ready_seconds.unwrap_or(0) != min_ready.unwrap_or(0) {
            spec.min_ready_seconds = min_ready;
        }
        let message = format!("Found new replica set {:?}", set.name());
        let revision = of(&set.desired.metadata);
        self.note_revision(revision);
        if self.has_deadline() && self.condition("Progressing").is_none() {
            let progress = Progress {
                status: "True",
                reason: "FoundNewReplicaSet",
                message,
            };
            set_condition(&mut self.conditions, progress.into_condition(self.now));
        }
    }

    /// Finds or makes the set of the current template.
    pub(super) fn ensure_new(&mut self) -> NewSet {
        if self.new.is_some() {
            self.sync_revision();
            return NewSet::Present;
        }
        let set = self.build_new();
        let occupied = self
            .observed
            .replica_sets
            .iter()
            .any(|other| other.metadata.name == set.metadata.name);
        if occupied {
            self.collisions = Some(self.collisions.unwrap_or(0) + 1);
            self.plan.look_again_in(SignedDuration::ZERO);
            return NewSet::Collided;
        }
        let name = set.metadata.name.clone().unwrap_or_default();
        self.new = Some(self.sets.len());
        self.sets.push(Set {
            observed: None,
            desired: set,
        });
        let replicas = self.new_replicas();
        let created = self.sets.last_mut().expect("the set was pushed above");
        created.desired.spec.replicas = Some(replicas);
        created.annotate(DESIRED_REPLICAS, self.budget.desired.to_string());
        created.annotate(MAX_REPLICAS, self.budget.maximum().to_string());
        let revision = of(&created.desired.metadata);
        if replicas > 0 {
            let message = format!("Scaled up replica set {name} from 0 to {replicas}");
            self.plan.events.push(Note::normal(
                Target::of(self.deployment),
                "ScalingReplicaSet",
                message,
            ));
        }
        self.note_revision(revision);
        if self.has_deadline() {
            let message = format!("Created new replica set {name:?}");
            let progress = Progress {
                status: "True",
                reason: "NewReplicaSetCreated",
                message,
            };
            set_condition(&mut self.conditions, progress.into_condition(self.now));
        }
        NewSet::Present
    }

    fn build_new(&self) -> ReplicaSet {
        let deployment = &self.deployment.metadata;
        let hash = template::hash(&self.spec.template, self.collisions);
        let mut template = self.spec.template.clone();
        let labels = template
            .metadata
            .get_or_insert_default()
            .labels
            .get_or_insert_default();
        labels.insert(HASH_LABEL.to_owned(), hash.clone());
        let labels = labels.clone();
        let mut selector = self.spec.selector.clone();
        selector
            .match_labels
            .get_or_insert_default()
            .insert(HASH_LABEL.to_owned(), hash.clone());
        let mut annotations = self.copied_annotations();
        annotations.insert(REVISION.to_owned(), self.next_revision().to_string());
        ReplicaSet {
            metadata: ObjectMeta {
                name: Some(format!(
                    "{}-{hash}",
                    deployment.name.as_deref().unwrap_or_default()
                )),
                namespace: deployment.namespace.clone(),
                labels: Some(labels),
                annotations: Some(annotations),
                owner_references: Some(vec![owner::reference_to(self.deployment)]),
                ..ObjectMeta::default()
            },
            spec: ReplicaSetSpec {
                replicas: Some(0),
                min_ready_seconds: self.spec.min_ready_seconds,
                selector,
                template: Some(template),
            },
            status: None,
        }
    }

    fn next_revision(&self) -> i64 {
        let old = self
            .old()
            .into_iter()
            .map(|index| of(&self.sets[index].desired.metadata));
        old.max().unwrap_or(0) + 1
    }

    fn copied_annotations(&self) -> BTreeMap<String, String> {
        let annotations = self.deployment.metadata.annotations.iter().flatten();
        let copied = annotations.filter(|(key, _)| !NOT_COPIED.contains(&key.as_str()));
        copied
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    fn note_revision(&mut self, revision: i64) {
        if of(&self.deployment.metadata) == revision {
            return;
        }
        let patch = json!({"metadata": {"annotations": {REVISION: revision.to_string()}}});
        self.revision = Some(Action::Patch {
            target: Target::of(self.deployment),
            patch,
        });
    }
}
