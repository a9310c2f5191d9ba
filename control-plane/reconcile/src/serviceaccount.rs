//! Every active namespace has a ServiceAccount `default`.

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

use crate::namespace::is_terminating;
use crate::plan::{Action, Object, Plan};

pub const NAME: &str = "default";

/// What one namespace's decision needs.
pub struct Observed<'a> {
    pub namespace: &'a Namespace,
    pub present: bool,
}

/// Makes the account where it is missing.
pub fn plan(observed: &Observed<'_>, _now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    if !observed.present && !is_terminating(observed.namespace) {
        let metadata = ObjectMeta {
            name: Some(NAME.to_owned()),
            namespace: observed.namespace.metadata.name.clone(),
            ..ObjectMeta::default()
        };
        let account = ServiceAccount {
            metadata,
            ..ServiceAccount::default()
        };
        plan.actions
            .push(Action::Create(Object::ServiceAccount(Box::new(account))));
    }
    plan
}
