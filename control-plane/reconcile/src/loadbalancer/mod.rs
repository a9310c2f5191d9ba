//! Services of type LoadBalancer get the addresses of nodes that hold their ports.
//!
//! Which Service has a port that several want is decided here, once for the cluster; whether a node can serve it the node
//! itself says (annotation `portcullis.dev/host-ports`), because it knows what else listens there. Who cannot be served has
//! no address, a condition, and an Event that names who is in the way.

mod claim;
mod place;

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    LoadBalancerIngress, LoadBalancerStatus, Node, Pod, PortStatus, Service, ServiceStatus,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use crate::plan::{Action, Note, Object, Plan, Target};
pub use claim::{Port, is_ours};

/// What one Service's decision needs.
pub struct Observed<'a> {
    pub service: &'a Service,
    /// All Services: who else wants the ports.
    pub services: &'a [Arc<Service>],
    pub nodes: &'a [Arc<Node>],
    /// All pods: those with `hostPort` have a port of their node.
    pub pods: &'a [Arc<Pod>],
    /// The Service's namespace's.
    pub slices: &'a [Arc<EndpointSlice>],
}

/// What becomes of one Service.
enum Verdict {
    /// Addresses, in order; they serve all its ports.
    Served(Vec<std::net::IpAddr>),
    /// Nobody is in the way: a node has to answer first.
    Waiting,
    Refused(Refusal),
}

struct Refusal {
    reason: &'static str,
    message: String,
}

/// Gives, corrects or withdraws the Service's address.
pub fn plan(observed: &Observed<'_>, now: Timestamp) -> Plan {
    let service = observed.service;
    if !is_ours(service) || service.metadata.deletion_timestamp.is_some() {
        return release(service);
    }
    let ports = claim::ports(service);
    let verdict = match claim::in_the_way(service, observed.services) {
        Some((port, other)) => Verdict::Refused(Refusal {
            reason: PORT_IN_USE,
            message: format!("port {port} is already served for the Service {other}"),
        }),
        None => place::choose(observed, &ports),
    };
    let (addresses, refusal) = match verdict {
        Verdict::Served(addresses) => (addresses, None),
        Verdict::Waiting => (Vec::new(), None),
        Verdict::Refused(refusal) => (Vec::new(), Some(refusal)),
    };
    let status = ServiceStatus {
        conditions: conditions(service, refusal.as_ref(), now),
        load_balancer: Some(LoadBalancerStatus {
            ingress: ingress(&addresses, &ports),
        }),
    };
    let mut plan = Plan::default();
    if said(service.status.as_ref()) == said(Some(&status)) {
        return plan;
    }
    plan.events = events(service, &addresses, refusal);
    plan.status = Some(with_status(service, status));
    plan
}

/// Its address and condition go first, then the finalizer that another cloud's controller may have put there: whoever waits
/// for it shall find nothing left behind. A load balancer of another class is somebody else's.
fn release(service: &Service) -> Plan {
    let mut plan = Plan::default();
    let class = service
        .spec
        .as_ref()
        .and_then(|spec| spec.load_balancer_class.as_deref());
    if class.is_some_and(|class| class != claim::CLASS) {
        return plan;
    }
    let (ingress, mut conditions) = said(service.status.as_ref());
    let said_before = conditions.len();
    conditions.retain(|condition| condition.type_ != CONDITION);
    if !ingress.is_empty() || conditions.len() < said_before {
        let clean = ServiceStatus {
            conditions: (!conditions.is_empty()).then_some(conditions),
            load_balancer: Some(LoadBalancerStatus::default()),
        };
        plan.status = Some(with_status(service, clean));
        return plan;
    }
    let finalizers = service.metadata.finalizers.clone().unwrap_or_default();
    if finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
        let kept: Vec<_> = finalizers
            .iter()
            .filter(|finalizer| *finalizer != FINALIZER)
            .collect();
        let version = service.metadata.resource_version.as_deref();
        // By the subresource, as upstream's controller does: its role lets it change nothing else of a Service.
        plan.actions.push(Action::PatchStatus {
            target: Target::of(service),
            patch: json!({"metadata": {"finalizers": kept, "resourceVersion": version}}),
        });
    }
    plan
}

/// What a status says, however it leaves out the rest.
fn said(status: Option<&ServiceStatus>) -> (Vec<LoadBalancerIngress>, Vec<Condition>) {
    let status = status.cloned().unwrap_or_default();
    let ingress = status.load_balancer.and_then(|balancer| balancer.ingress);
    let conditions = status.conditions.unwrap_or_default();
    (ingress.unwrap_or_default(), conditions)
}

fn with_status(service: &Service, status: ServiceStatus) -> Object {
    Object::Service(Box::new(Service {
        status: Some(status),
        ..service.clone()
    }))
}

/// With the ports they were given for: that is how a Service is known to have them already.
fn ingress(
    addresses: &[std::net::IpAddr],
    ports: &BTreeSet<Port>,
) -> Option<Vec<LoadBalancerIngress>> {
    let ports: Vec<PortStatus> = ports
        .iter()
        .map(|port| PortStatus {
            port: port.number,
            protocol: port.protocol.clone(),
            error: None,
        })
        .collect();
    let point = |ip: &std::net::IpAddr| LoadBalancerIngress {
        ip: Some(ip.to_string()),
        ip_mode: Some("VIP".to_owned()),
        ports: Some(ports.clone()),
        hostname: None,
    };
    (!addresses.is_empty()).then(|| addresses.iter().map(point).collect())
}

/// The others' conditions stay.
fn conditions(
    service: &Service,
    refusal: Option<&Refusal>,
    now: Timestamp,
) -> Option<Vec<Condition>> {
    let status = service.status.as_ref();
    let mut conditions = status
        .and_then(|status| status.conditions.clone())
        .unwrap_or_default();
    let place = conditions
        .iter()
        .position(|condition| condition.type_ == CONDITION);
    let old = place.map(|place| conditions.remove(place));
    if let Some(refusal) = refusal {
        let since = old.map_or(Time(now), |old| old.last_transition_time);
        let condition = Condition {
            type_: CONDITION.to_owned(),
            status: "True".to_owned(),
            reason: refusal.reason.to_owned(),
            message: refusal.message.clone(),
            last_transition_time: since,
            observed_generation: None,
        };
        let place = place.unwrap_or(conditions.len());
        conditions.insert(place, condition);
    }
    (!conditions.is_empty()).then_some(conditions)
}

/// Only of what is news: the condition remembers what was said.
fn events(
    service: &Service,
    addresses: &[std::net::IpAddr],
    refusal: Option<Refusal>,
) -> Vec<Note> {
    let about = Target::of(service);
    let status = service.status.as_ref();
    if let Some(Refusal { message, .. }) = refusal {
        let conditions = status.and_then(|status| status.conditions.as_ref());
        let said = conditions.into_iter().flatten();
        let mut said = said.filter(|condition| condition.type_ == CONDITION);
        let known = said.any(|condition| condition.message == message);
        let note = || Note::warning(about, "SyncLoadBalancerFailed", message);
        return (!known).then(note).into_iter().collect();
    }
    let balancer = status.and_then(|status| status.load_balancer.as_ref());
    let had: Vec<&str> = balancer
        .into_iter()
        .flat_map(|balancer| balancer.ingress.iter().flatten())
        .filter_map(|point| point.ip.as_deref())
        .collect();
    let has: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    if has.is_empty() || had == has {
        return Vec::new();
    }
    let message = format!("Ensured load balancer at {}", has.join(", "));
    vec![Note::normal(about, "EnsuredLoadBalancer", message)]
}

/// Upstream's condition for ports that a load balancer cannot serve.
const CONDITION: &str = "LoadBalancerPortsError";
const FINALIZER: &str = "service.kubernetes.io/load-balancer-cleanup";
const PORT_IN_USE: &str = "PortInUse";
