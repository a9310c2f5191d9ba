//! Aggregated ClusterRoles: any ClusterRole that changes may be part of them.

use std::sync::Arc;

use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::jiff::Timestamp;
use portcullis_reconcile::{Plan, clusterrole};

use crate::actor::Controller;
use crate::informer::{Informer, Key};
use crate::queue::Queue;

pub(crate) struct ClusterRoles {
    roles: Arc<Informer<ClusterRole>>,
}

impl ClusterRoles {
    pub fn new(roles: &Arc<Informer<ClusterRole>>, queue: &Arc<Queue<Key>>) -> Self {
        let (wake, known) = (Arc::clone(queue), Arc::clone(roles));
        roles.subscribe(move |_| {
            known
                .all()
                .iter()
                .filter(|role| clusterrole::is_aggregated(role))
                .for_each(|role| wake.add(Key::of(&role.metadata)));
        });
        Self {
            roles: Arc::clone(roles),
        }
    }
}

impl Controller for ClusterRoles {
    type Key = Key;
    const NAME: &'static str = "clusterrole-aggregation-controller";

    async fn plan(&self, key: &Key, now: Timestamp) -> Result<Plan, kube::Error> {
        let Some(role) = self.roles.find(key) else {
            return Ok(Plan::default());
        };
        let observed = clusterrole::Observed {
            role: &role,
            roles: &self.roles.all(),
        };
        Ok(clusterrole::plan(&observed, now))
    }
}
