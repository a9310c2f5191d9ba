//! Every active namespace has a ConfigMap `kube-root-ca.crt` with the cluster's CA, recreated and corrected as needed.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

use crate::namespace::is_terminating;
use crate::plan::{Action, Object, Plan};

pub const NAME: &str = "kube-root-ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";

/// What one namespace's decision needs.
pub struct Observed<'a> {
    pub namespace: &'a Namespace,
    pub current: Option<&'a ConfigMap>,
    /// The certificates pods verify the API server with, PEM.
    pub ca_pem: &'a str,
}

/// Publishes the CA where it is missing or was edited.
pub fn plan(observed: &Observed<'_>, _now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    if is_terminating(observed.namespace) {
        return plan;
    }
    let data = BTreeMap::from([("ca.crt".to_owned(), observed.ca_pem.to_owned())]);
    let description = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints \
                       such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
                       distributions of Kubernetes clusters.";
    match observed.current {
        None => {
            let metadata = ObjectMeta {
                name: Some(NAME.to_owned()),
                namespace: observed.namespace.metadata.name.clone(),
                annotations: Some(BTreeMap::from([(
                    DESCRIPTION.to_owned(),
                    description.to_owned(),
                )])),
                ..ObjectMeta::default()
            };
            let map = ConfigMap {
                metadata,
                data: Some(data),
                ..ConfigMap::default()
            };
            plan.actions
                .push(Action::Create(Object::ConfigMap(Box::new(map))));
        }
        Some(current) if current.data.as_ref() != Some(&data) => {
            let corrected = ConfigMap {
                data: Some(data),
                binary_data: None,
                ..current.clone()
            };
            plan.actions
                .push(Action::Replace(Object::ConfigMap(Box::new(corrected))));
        }
        Some(_) => {}
    }
    plan
}
