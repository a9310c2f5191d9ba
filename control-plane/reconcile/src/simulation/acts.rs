//! What the API server does with a plan.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::shelf::Shelf;
use super::world::{NAME, World, now};
use crate::{Action, Object, Plan, pod};

impl World {
    /// Stops at the first refusal, as the shell does; the status goes last and only under its resourceVersion.
    pub(super) fn execute(&mut self, plan: Plan) {
        for action in plan.actions {
            if !self.act(action) {
                return;
            }
        }
        match plan.status {
            Some(Object::Deployment(updated))
                if is_current(&self.deployments, &updated.metadata) =>
            {
                let mut deployment = Deployment::clone(&self.deployments.truth[NAME]);
                deployment.status = updated.status;
                self.put_deployment(deployment);
            }
            Some(Object::ReplicaSet(updated)) if is_current(&self.sets, &updated.metadata) => {
                self.put_set(*updated);
            }
            _ => {}
        }
    }

    fn act(&mut self, action: Action) -> bool {
        match action {
            Action::Create(Object::Pod(mut pod)) => {
                let name = format!("pod-{}", self.revision + 1);
                pod.metadata.name = Some(name.clone());
                pod.metadata.uid = Some(name.clone());
                self.put_pod(&name, *pod);
            }
            Action::Create(Object::ReplicaSet(mut set)) => {
                let name = set.metadata.name.clone().unwrap_or_default();
                self.written
                    .note(&name, &(self.revision + 1).to_string(), now());
                if self.sets.truth.contains_key(&name) {
                    return false;
                }
                set.metadata.uid = Some(name);
                set.metadata.creation_timestamp = Some(Time(
                    Timestamp::from_second(self.revision).expect("a valid time"),
                ));
                self.put_set(*set);
            }
            Action::Patch { target, patch } if target.resource.kind == "ReplicaSet" => {
                let Some(current) = self.sets.truth.get(&target.name) else {
                    return false;
                };
                let wanted = patch["metadata"]["resourceVersion"]
                    .as_str()
                    .map(str::to_owned);
                if wanted != current.metadata.resource_version {
                    return false;
                }
                let mut value = serde_json::to_value(&**current).expect("plain data");
                self.written
                    .note(&target.name, &(self.revision + 1).to_string(), now());
                merge(&mut value, &patch);
                self.put_set(serde_json::from_value(value).expect("a valid set"));
            }
            Action::Patch { patch, .. } => {
                let mut value =
                    serde_json::to_value(&*self.deployments.truth[NAME]).expect("plain data");
                merge(&mut value, &patch);
                self.put_deployment(serde_json::from_value(value).expect("a valid deployment"));
            }
            Action::Delete { target, .. } if target.resource.kind == "Pod" => {
                let alive = self
                    .pods
                    .truth
                    .get(&target.name)
                    .is_some_and(|pod| pod::is_active(pod));
                if alive {
                    self.edit_pod(&target.name, |pod| {
                        pod.metadata.deletion_timestamp = Some(Time(now()))
                    });
                }
            }
            Action::Delete { target, .. } => {
                self.revision += 1;
                self.sets.remove(&target.name);
            }
            other => panic!("no controller of workloads plans {other:?}"),
        }
        true
    }
}

fn is_current<K: k8s_openapi::Metadata<Ty = ObjectMeta>>(
    shelf: &Shelf<K>,
    updated: &ObjectMeta,
) -> bool {
    let current = shelf.truth.get(updated.name.as_deref().unwrap_or_default());
    current.is_some_and(|current| current.metadata().resource_version == updated.resource_version)
}

/// RFC 7386, without deletions: no plan deletes a field.
fn merge(target: &mut Value, patch: &Value) {
    match patch {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, value)| merge(&mut target[name.as_str()], value)),
        plain => *target = plain.clone(),
    }
}
