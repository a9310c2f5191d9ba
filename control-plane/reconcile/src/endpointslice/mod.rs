//! EndpointSlice: the pods behind a Service, in slices of at most [`CAPACITY`], changed as little as possible.

mod distribute;
mod endpoints;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::jiff::Timestamp;

use crate::expectations::Expectations;
use crate::plan::{Action, Plan, Target};

/// Endpoints per slice (`--max-endpoints-per-slice` upstream).
pub const CAPACITY: usize = 100;
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub const MANAGER: &str = "endpointslice-controller.k8s.io";

/// What one Service's decision needs.
pub struct Observed<'a> {
    /// Name of the Service, which may be gone.
    pub name: &'a str,
    pub service: Option<&'a Service>,
    /// Every Pod of the namespace.
    pub pods: &'a [Arc<Pod>],
    /// Every EndpointSlice of the namespace.
    pub slices: &'a [Arc<EndpointSlice>],
    /// Node name → zone.
    pub zones: &'a BTreeMap<String, String>,
    pub expectations: &'a Expectations,
}

/// Brings the Service's slices to what its pods say. New slices come before deletions, so no endpoint is ever missing.
pub fn plan(observed: &Observed<'_>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    if !observed.expectations.satisfied(now) {
        plan.requeue_after = observed.expectations.forgiven_in(now);
        return plan;
    }
    let ours: Vec<&Arc<EndpointSlice>> = observed
        .slices
        .iter()
        .filter(|slice| is_ours(slice, observed.name))
        .collect();
    let spec = observed.service.and_then(|service| service.spec.as_ref());
    let (Some(service), Some(spec)) = (observed.service, spec) else {
        plan.actions.extend(
            ours.iter()
                .map(|slice| Action::delete(Target::of(&***slice))),
        );
        return plan;
    };
    if spec.type_.as_deref() == Some("ExternalName") {
        plan.actions.extend(
            ours.iter()
                .map(|slice| Action::delete(Target::of(&***slice))),
        );
        return plan;
    }
    if service.metadata.deletion_timestamp.is_some()
        || spec.selector.as_ref().is_none_or(BTreeMap::is_empty)
    {
        return plan;
    }
    let groups = endpoints::groups(observed, service, spec);
    plan.actions = distribute::actions(service, groups, &ours);
    plan
}

/// Whether this controller owns the slice and it belongs to the named Service.
pub fn is_ours(slice: &EndpointSlice, service: &str) -> bool {
    let label = |key: &str| {
        slice
            .metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(key))
            .map(String::as_str)
    };
    label(SERVICE_NAME) == Some(service) && label(MANAGED_BY) == Some(MANAGER)
}
