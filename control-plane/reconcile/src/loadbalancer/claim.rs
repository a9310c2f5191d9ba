//! Which Service has a port of the nodes' addresses: it has all of its ports, or none.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::jiff::Timestamp;

/// `spec.loadBalancerClass` of Services that get the nodes' addresses; those without a class do too.
pub(super) const CLASS: &str = "portcullis.dev/node";

/// `80/TCP`
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    pub number: i32,
    pub protocol: String,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol)
    }
}

/// Whether the Service is one that gets the nodes' addresses.
pub fn is_ours(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| {
        let class = spec.load_balancer_class.as_deref();
        is_balanced(spec) && class.is_none_or(|class| class == CLASS)
    })
}

fn is_balanced(spec: &ServiceSpec) -> bool {
    spec.type_.as_deref() == Some("LoadBalancer")
}

pub(super) fn ports(service: &Service) -> BTreeSet<Port> {
    let ports = service
        .spec
        .iter()
        .flat_map(|spec| spec.ports.iter().flatten());
    ports
        .map(|port| Port {
            number: port.port,
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
        })
        .collect()
}

/// The first of the Service's ports that another has, and whose it is.
pub(super) fn in_the_way(service: &Service, services: &[Arc<Service>]) -> Option<(Port, String)> {
    let mut claims: Vec<&Service> = services
        .iter()
        .map(AsRef::as_ref)
        .filter(|other| is_ours(other) && other.metadata.deletion_timestamp.is_none())
        .filter(|other| name(other) != name(service))
        .collect();
    claims.push(service);
    claims.sort_by_key(|other| Precedence::of(other));
    let mut taken: BTreeMap<Port, &Service> = BTreeMap::new();
    for claim in claims {
        let wanted = ports(claim);
        let found = wanted.iter().find_map(|port| taken.get_key_value(port));
        if name(claim) == name(service) {
            return found.map(|(port, holder)| (port.clone(), name(holder)));
        }
        if found.is_none() {
            taken.extend(wanted.into_iter().map(|port| (port, claim)));
        }
    }
    None
}

/// Who serves already goes on; then the older one has it.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Precedence {
    is_new: bool,
    created_at: Option<Timestamp>,
    name: String,
}

impl Precedence {
    fn of(service: &Service) -> Self {
        let given = given(service);
        let created = service.metadata.creation_timestamp.as_ref();
        Self {
            is_new: !ports(service).is_subset(&given),
            created_at: created.map(|created| created.0),
            name: name(service),
        }
    }
}

/// The ports that the Service's addresses were given for.
fn given(service: &Service) -> BTreeSet<Port> {
    let status = service.status.as_ref();
    let balancer = status.and_then(|status| status.load_balancer.as_ref());
    let points = balancer
        .into_iter()
        .flat_map(|b| b.ingress.iter().flatten());
    let ports = points.flat_map(|point| point.ports.iter().flatten());
    ports
        .map(|port| Port {
            number: port.port,
            protocol: port.protocol.clone(),
        })
        .collect()
}

fn name(service: &Service) -> String {
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    let name = service.metadata.name.as_deref().unwrap_or_default();
    format!("{namespace}/{name}")
}
