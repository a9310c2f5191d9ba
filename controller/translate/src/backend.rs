//! One Service port and its endpoints.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use k8s_openapi::{
    api::{
        core::v1::{Service, ServicePort},
        discovery::v1::{Endpoint, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use portcullis_route::spec::{BackendProtocol, BackendSpec, EndpointSpec, EndpointState};

use crate::object::ObjectKey;

/// The port as the Ingress has it, number or name: ingress-nginx makes one upstream of each spelling.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BackendKey {
    pub service: ObjectKey,
    pub port: String,
}

/// Why a port of a Service cannot be forwarded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unresolved {
    NoService,
    NoPort,
    ExternalName,
}

impl BackendKey {
    /// Unique: with `-` between the parts, Service `b-c` of namespace `a` would share the backend of Service `c` of
    /// namespace `a-b`.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.service, self.port)
    }
}

pub(crate) fn resolve<'s>(
    service: Option<&'s Service>,
    port: &str,
) -> Result<&'s ServicePort, Unresolved> {
    let spec = service
        .and_then(|service| service.spec.as_ref())
        .ok_or(Unresolved::NoService)?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return Err(Unresolved::ExternalName);
    }
    let ports = spec.ports.iter().flatten().filter(|port| is_tcp(port));
    let mut named = ports.filter(|candidate| answers_to(candidate, port));
    named.next().ok_or(Unresolved::NoPort)
}

/// The number of the first port: what a backend without a port means.
pub(crate) fn first_port(service: &Service) -> Option<String> {
    let ports = service.spec.as_ref()?.ports.as_ref()?;
    let port = ports.iter().find(|port| is_tcp(port))?;
    Some(port.port.to_string())
}

/// The backend with the endpoints of all slices. An unresolved port has none, and answers 503.
pub(crate) fn build<'s>(
    key: &BackendKey,
    service: Option<&Service>,
    slices: impl Iterator<Item = &'s EndpointSlice>,
) -> BackendSpec {
    let endpoints = match resolve(service, &key.port) {
        Ok(port) => endpoints(port, slices),
        Err(_) => Vec::new(),
    };
    BackendSpec {
        name: key.name(),
        protocol: BackendProtocol::Http,
        endpoints,
    }
}

fn is_tcp(port: &ServicePort) -> bool {
    port.protocol.as_deref().unwrap_or("TCP") == "TCP"
}

/// By number, by target or by name, in ingress-nginx's order.
fn answers_to(candidate: &ServicePort, port: &str) -> bool {
    let target = match &candidate.target_port {
        Some(IntOrString::Int(number)) => *port == number.to_string(),
        Some(IntOrString::String(name)) => name == port,
        None => false,
    };
    candidate.port.to_string() == port || target || candidate.name.as_deref() == Some(port)
}

/// A pod of a dual-stack Service is in two slices, and while slices are rebalanced it may be in two of one family: it
/// counts once, by its IPv4 address where it has one, as ready where one slice says so.
fn endpoints<'s>(
    port: &ServicePort,
    slices: impl Iterator<Item = &'s EndpointSlice>,
) -> Vec<EndpointSpec> {
    let mut by_pod: BTreeMap<(String, u16), Candidate> = BTreeMap::new();
    for slice in slices.filter(|slice| slice.address_type != "FQDN") {
        let Some(number) = port_number(port, slice) else {
            continue;
        };
        for endpoint in slice.endpoints.iter().flatten() {
            let Some(candidate) = Candidate::of(endpoint) else {
                continue;
            };
            let kept = by_pod.entry((identity(endpoint, &candidate), number));
            let kept = kept.or_insert_with(|| candidate.clone());
            *kept = candidate.min(kept.clone());
        }
    }
    let mut endpoints: Vec<EndpointSpec> = by_pod
        .into_iter()
        .map(|((_, number), candidate)| EndpointSpec {
            address: SocketAddr::new(candidate.address, number),
            state: candidate.state,
        })
        .collect();
    endpoints.sort();
    endpoints.dedup_by_key(|endpoint| endpoint.address);
    endpoints
}

/// The number that a slice has for a Service port: slices carry the Service port's name, and the number to which its
/// target was resolved. A slice port without number means all ports.
fn port_number(port: &ServicePort, slice: &EndpointSlice) -> Option<u16> {
    let wanted = port.name.as_deref().unwrap_or_default();
    let matches = |candidate: &&EndpointPort| {
        candidate.name.as_deref().unwrap_or_default() == wanted
            && candidate.protocol.as_deref().unwrap_or("TCP") == "TCP"
    };
    let found = slice.ports.iter().flatten().find(matches)?;
    let number = match (found.port, &port.target_port) {
        (Some(number), _) => number,
        (None, Some(IntOrString::Int(number))) => *number,
        (None, _) => port.port,
    };
    u16::try_from(number).ok().filter(|number| *number > 0)
}

/// Ordered by what is preferred: IPv4, then ready, then the lower address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    is_ipv6: bool,
    state: EndpointState,
    address: IpAddr,
}

impl Candidate {
    /// None for endpoints that do not serve. A missing `ready` means ready, a missing `serving` means like `ready`
    /// (KEP-1672).
    fn of(endpoint: &Endpoint) -> Option<Self> {
        // Only the first address has a meaning (EndpointSlice API: "consumers must handle the first").
        let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
        let conditions = endpoint.conditions.as_ref();
        let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
        let serving = conditions.and_then(|c| c.serving).unwrap_or(ready);
        let terminating = conditions.and_then(|c| c.terminating).unwrap_or(false);
        let state = match (ready, serving && terminating) {
            (true, _) => EndpointState::Ready,
            (false, true) => EndpointState::Terminating,
            (false, false) => return None,
        };
        Some(Self {
            is_ipv6: address.is_ipv6(),
            state,
            address,
        })
    }
}

fn identity(endpoint: &Endpoint, candidate: &Candidate) -> String {
    let target = endpoint.target_ref.as_ref();
    let uid = target.and_then(|target| target.uid.clone());
    let named = || target.and_then(|target| target.name.clone());
    uid.or_else(named)
        .unwrap_or_else(|| candidate.address.to_string())
}
