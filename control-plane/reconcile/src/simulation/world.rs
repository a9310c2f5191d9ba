//! A Deployment's world: what is true, what the caches show, what may happen, and what must hold.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, ReplicaSet, RollingUpdateDeployment,
};
use k8s_openapi::api::core::v1::{
    Container, Pod, PodCondition, PodSpec, PodStatus, PodTemplateSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;

use super::shelf::{Seen, Shelf};
use crate::expectations::{Expectations, Written};
use crate::{Action, deployment, owner, pod, replicaset};

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Deployment,
    Set,
    Pod,
}

#[derive(Default)]
pub(super) struct World {
    pub(super) revision: i64,
    pub(super) deployments: Shelf<Deployment>,
    pub(super) sets: Shelf<ReplicaSet>,
    pub(super) pods: Shelf<Pod>,
    pub(super) expectations: BTreeMap<String, Expectations>,
    pub(super) written: Written,
}

pub(super) const NAME: &str = "web";

pub(super) fn now() -> Timestamp {
    Timestamp::from_second(1_000_000).expect("a valid time")
}

impl World {
    pub fn new(desired: i32, surge: i32, unavailable: i32) -> Self {
        let labels = BTreeMap::from([("app".to_owned(), NAME.to_owned())]);
        let mut world = Self::default();
        let deployment = Deployment {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                uid: Some("d".to_owned()),
                ..ObjectMeta::default()
            },
            spec: DeploymentSpec {
                replicas: Some(desired),
                progress_deadline_seconds: Some(600),
                selector: LabelSelector {
                    match_labels: Some(labels.clone()),
                    match_expressions: None,
                },
                strategy: Some(DeploymentStrategy {
                    type_: Some("RollingUpdate".to_owned()),
                    rolling_update: Some(RollingUpdateDeployment {
                        max_surge: Some(IntOrString::Int(surge)),
                        max_unavailable: Some(IntOrString::Int(unavailable)),
                    }),
                }),
                template: PodTemplateSpec {
                    metadata: Some(ObjectMeta {
                        labels: Some(labels),
                        ..ObjectMeta::default()
                    }),
                    spec: Some(PodSpec {
                        containers: vec![Container::default()],
                        ..PodSpec::default()
                    }),
                },
                ..DeploymentSpec::default()
            },
            status: None,
        };
        world.put_deployment(deployment);
        world
    }

    pub fn revision(&self) -> i64 {
        self.revision
    }

    pub fn see(&mut self, kind: Kind) {
        match kind {
            Kind::Deployment => drop(self.deployments.see()),
            Kind::Set => drop(self.sets.see()),
            Kind::Pod => {
                if let Some(Seen { before, after }) = self.pods.see() {
                    self.settle(before.as_deref(), after.as_deref());
                }
            }
        }
    }

    pub fn see_all(&mut self) {
        while self.deployments.see().is_some() {}
        while self.sets.see().is_some() {}
        while self.pods.seen < self.pods.log.len() {
            self.see(Kind::Pod);
        }
    }

    /// As the shell does when its pod watch speaks.
    fn settle(&mut self, before: Option<&Pod>, after: Option<&Pod>) {
        let Some(subject) = after.or(before) else {
            return;
        };
        let Some(set) = owner::controller(&subject.metadata) else {
            return;
        };
        let Some(expectations) = self.expectations.get_mut(&set.name) else {
            return;
        };
        if after.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some()) {
            expectations.deletion_settled(subject.metadata.uid.as_deref().unwrap_or_default());
        }
        if before.is_none() && after.is_some() {
            expectations.creation_settled();
        }
    }

    pub fn deploy(&mut self) {
        let Some(deployment) = self.deployments.cache.get(NAME).cloned() else {
            return;
        };
        let (replica_sets, pods) = (self.sets.cached(), self.pods.cached());
        let observed = deployment::Observed {
            deployment: &deployment,
            replica_sets: &replica_sets,
            pods: &pods,
            written: &self.written,
        };
        let plan = deployment::plan(&observed, now());
        self.execute(plan);
    }

    pub fn set_count(&self) -> usize {
        self.sets.cache.len()
    }

    pub fn size(&mut self, index: usize) {
        let replica_sets = self.sets.cached();
        let Some(set) = replica_sets.get(index).cloned() else {
            return;
        };
        let name = set.metadata.name.clone().unwrap_or_default();
        let expectations = self.expectations.get(&name).cloned().unwrap_or_default();
        let pods = self.pods.cached();
        let observed = replicaset::Observed {
            replica_set: &set,
            pods: &pods,
            replica_sets: &replica_sets,
            expectations: &expectations,
            failure: None,
        };
        let plan = replicaset::plan(&observed, now());
        let creations = plan
            .actions
            .iter()
            .filter(|action| matches!(action, Action::Create(_)))
            .count();
        let deletions: Vec<String> = plan.actions.iter().filter_map(deleted_uid).collect();
        if creations + deletions.len() > 0 {
            self.expectations
                .entry(name)
                .or_default()
                .expect(creations, deletions, now());
        }
        self.execute(plan);
        if creations > 0 {
            let wanted = set.spec.replicas.unwrap_or(0);
            let active = self.count(|pod| owner::is_controlled_by(&pod.metadata, &set.metadata));
            assert!(
                active <= wanted,
                "{active} active pods for {wanted} replicas"
            );
        }
    }

    fn unready(&self) -> Vec<String> {
        let fresh = self
            .pods
            .truth
            .values()
            .filter(|pod| pod::is_active(pod) && !pod::is_ready(pod));
        fresh.filter_map(|pod| pod.metadata.name.clone()).collect()
    }

    fn going(&self) -> Vec<String> {
        let going = self
            .pods
            .truth
            .values()
            .filter(|pod| pod.metadata.deletion_timestamp.is_some());
        going.filter_map(|pod| pod.metadata.name.clone()).collect()
    }

    pub fn pods_to_ready(&self) -> usize {
        self.unready().len()
    }

    pub fn pods_to_vanish(&self) -> usize {
        self.going().len()
    }

    pub fn ready(&mut self, index: usize) {
        let Some(name) = self.unready().get(index).cloned() else {
            return;
        };
        self.edit_pod(&name, |pod| {
            let ready = PodCondition {
                type_: "Ready".to_owned(),
                status: "True".to_owned(),
                ..PodCondition::default()
            };
            let conditions = Some(vec![ready]);
            pod.status = Some(PodStatus {
                phase: Some("Running".to_owned()),
                conditions,
                ..PodStatus::default()
            });
        });
    }

    pub fn vanish(&mut self, index: usize) {
        let Some(name) = self.going().get(index).cloned() else {
            return;
        };
        self.revision += 1;
        self.pods.remove(&name);
    }

    pub fn retemplate(&mut self) {
        let mut deployment = Deployment::clone(&self.deployments.truth[NAME]);
        let image = format!("web:{}", self.revision);
        deployment
            .spec
            .template
            .spec
            .get_or_insert_default()
            .containers[0]
            .image = Some(image);
        deployment.metadata.generation = Some(deployment.metadata.generation.unwrap_or(0) + 1);
        self.put_deployment(deployment);
    }

    /// Replicas asked for over all sets.
    pub fn sized_for(&self) -> i32 {
        self.sets
            .truth
            .values()
            .map(|set| set.spec.replicas.unwrap_or(0))
            .sum()
    }

    pub fn available(&self) -> i32 {
        self.count(pod::is_ready)
    }

    /// Active pods of the current template.
    pub fn current_pods(&self) -> i32 {
        let image = |spec: Option<&PodSpec>| spec.and_then(|spec| spec.containers[0].image.clone());
        let wanted = image(self.deployments.truth[NAME].spec.template.spec.as_ref());
        self.count(|pod| image(pod.spec.as_ref()) == wanted)
    }

    pub fn progress(&self) -> Option<String> {
        let status = self.deployments.truth[NAME].status.clone()?;
        let mut conditions = status.conditions.into_iter().flatten();
        conditions
            .find(|condition| condition.type_.as_deref() == Some("Progressing"))?
            .reason
    }

    fn count(&self, test: impl Fn(&Pod) -> bool) -> i32 {
        let active = self.pods.truth.values().filter(|pod| pod::is_active(pod));
        i32::try_from(active.filter(|pod| test(pod)).count()).expect("few pods")
    }

    fn version(&mut self) -> Option<String> {
        self.revision += 1;
        Some(self.revision.to_string())
    }

    pub(super) fn put_deployment(&mut self, mut deployment: Deployment) {
        deployment.metadata.resource_version = self.version();
        self.deployments.put(NAME, deployment);
    }

    pub(super) fn put_set(&mut self, mut set: ReplicaSet) {
        let name = set.metadata.name.clone().unwrap_or_default();
        set.metadata.resource_version = self.version();
        self.sets.put(&name, set);
    }

    pub(super) fn put_pod(&mut self, name: &str, mut pod: Pod) {
        pod.metadata.resource_version = self.version();
        self.pods.put(name, pod);
    }

    pub(super) fn edit_pod(&mut self, name: &str, edit: impl FnOnce(&mut Pod)) {
        let mut pod = Pod::clone(&self.pods.truth[name]);
        edit(&mut pod);
        self.put_pod(name, pod);
    }
}

fn deleted_uid(action: &Action) -> Option<String> {
    match action {
        Action::Delete { target, .. } => target.uid.clone(),
        _ => None,
    }
}
