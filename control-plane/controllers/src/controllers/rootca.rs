//! `kube-root-ca.crt`: woken by namespaces and by anything that happens to the ConfigMap.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::jiff::Timestamp;
use portcullis_reconcile::{Plan, rootca};

use crate::actor::Controller;
use crate::informer::{Informer, Key};
use crate::queue::Queue;

pub(crate) struct RootCa {
    namespaces: Arc<Informer<Namespace>>,
    /// Only those named `kube-root-ca.crt` are watched.
    maps: Arc<Informer<ConfigMap>>,
    ca_pem: String,
}

impl RootCa {
    pub fn new(
        namespaces: &Arc<Informer<Namespace>>,
        maps: &Arc<Informer<ConfigMap>>,
        ca_pem: String,
        queue: &Arc<Queue<Key>>,
    ) -> Self {
        let wake = Arc::clone(queue);
        namespaces.subscribe(move |change| wake.add(Key::of(&change.object().metadata)));
        let wake = Arc::clone(queue);
        maps.subscribe(move |change| {
            wake.add(Key::new(
                "",
                change
                    .object()
                    .metadata
                    .namespace
                    .clone()
                    .unwrap_or_default(),
            ));
        });
        Self {
            namespaces: Arc::clone(namespaces),
            maps: Arc::clone(maps),
            ca_pem,
        }
    }
}

impl Controller for RootCa {
    type Key = Key;
    const NAME: &'static str = "root-ca-certificate-publisher";

    async fn plan(&self, key: &Key, now: Timestamp) -> Result<Plan, kube::Error> {
        let Some(namespace) = self.namespaces.find(key) else {
            return Ok(Plan::default());
        };
        let current = self.maps.find(&Key::new(&*key.name, rootca::NAME));
        let observed = rootca::Observed {
            namespace: &namespace,
            current: current.as_deref(),
            ca_pem: &self.ca_pem,
        };
        Ok(rootca::plan(&observed, now))
    }
}
