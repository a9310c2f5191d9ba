//! The `default` ServiceAccount: woken by namespaces and by its own deletion.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::jiff::Timestamp;
use portcullis_reconcile::{Plan, serviceaccount};

use crate::actor::Controller;
use crate::informer::{Change, Informer, Key};
use crate::queue::Queue;

pub(crate) struct ServiceAccounts {
    namespaces: Arc<Informer<Namespace>>,
    accounts: Arc<Informer<ServiceAccount>>,
}

impl ServiceAccounts {
    pub fn new(
        namespaces: &Arc<Informer<Namespace>>,
        accounts: &Arc<Informer<ServiceAccount>>,
        queue: &Arc<Queue<Key>>,
    ) -> Self {
        let wake = Arc::clone(queue);
        namespaces.subscribe(move |change| wake.add(Key::of(&change.object().metadata)));
        let wake = Arc::clone(queue);
        accounts.subscribe(move |change| {
            if let Change::Deleted(account) = change {
                wake.add(Key::new(
                    "",
                    account.metadata.namespace.clone().unwrap_or_default(),
                ));
            }
        });
        Self {
            namespaces: Arc::clone(namespaces),
            accounts: Arc::clone(accounts),
        }
    }
}

impl Controller for ServiceAccounts {
    type Key = Key;
    const NAME: &'static str = "service-account-controller";

    async fn plan(&self, key: &Key, now: Timestamp) -> Result<Plan, kube::Error> {
        let Some(namespace) = self.namespaces.find(key) else {
            return Ok(Plan::default());
        };
        let present = self
            .accounts
            .find(&Key::new(&*key.name, serviceaccount::NAME))
            .is_some();
        Ok(serviceaccount::plan(
            &serviceaccount::Observed {
                namespace: &namespace,
                present,
            },
            now,
        ))
    }
}
