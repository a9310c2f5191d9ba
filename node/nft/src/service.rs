//! Services and EndpointSlices → ports with the endpoints that get their traffic.

use k8s_openapi::api::core::v1::{Service, ServicePort as ApiPort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointSlice};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }

    fn parse(name: Option<&str>) -> Option<Self> {
        match name.unwrap_or("TCP") {
            "TCP" => Some(Protocol::Tcp),
            "UDP" => Some(Protocol::Udp),
            "SCTP" => Some(Protocol::Sctp),
            _ => None,
        }
    }
}

/// One port of a Service on one of its cluster addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    pub namespace: String,
    pub name: String,
    pub ip: IpAddr,
    pub protocol: Protocol,
    pub port: u16,
    /// On every address of the node.
    pub node_port: Option<u16>,
    /// A client stays with its endpoint (`sessionAffinity: ClientIP`).
    pub sticky: bool,
    /// For traffic from inside the cluster. Empty: refuse.
    pub endpoints: Vec<SocketAddr>,
    /// For traffic from outside (the node port): those of this node alone when `externalTrafficPolicy` is Local.
    pub external_endpoints: Vec<SocketAddr>,
    /// External traffic keeps its source address (`externalTrafficPolicy: Local`).
    pub keeps_source: bool,
}

/// All balanced ports, in a stable order. Headless and external-name Services have none.
pub fn service_ports<'a>(
    services: impl IntoIterator<Item = &'a Service>,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    node_name: &str,
) -> Vec<ServicePort> {
    let mut by_service: BTreeMap<(&str, &str), Vec<&EndpointSlice>> = BTreeMap::new();
    for slice in slices {
        let name = slice
            .metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(SERVICE_LABEL));
        if let (Some(namespace), Some(name)) = (slice.metadata.namespace.as_deref(), name) {
            by_service.entry((namespace, name)).or_default().push(slice);
        }
    }
    let mut ports = Vec::new();
    for service in services {
        let meta = &service.metadata;
        let (Some(namespace), Some(name), Some(spec)) = (
            meta.namespace.as_deref(),
            meta.name.as_deref(),
            &service.spec,
        ) else {
            continue;
        };
        let slices = by_service
            .get(&(namespace, name))
            .map(Vec::as_slice)
            .unwrap_or_default();
        for ip in cluster_ips(spec) {
            let of = |port| service_port(namespace, name, spec, port, ip, slices, node_name);
            ports.extend(spec.ports.iter().flatten().filter_map(of));
        }
    }
    ports.sort_by(|a, b| key(a).cmp(&key(b)));
    ports
}

fn key(port: &ServicePort) -> (&str, &str, IpAddr, Protocol, u16) {
    (
        &port.namespace,
        &port.name,
        port.ip,
        port.protocol,
        port.port,
    )
}

fn cluster_ips(spec: &ServiceSpec) -> BTreeSet<IpAddr> {
    if spec.type_.as_deref() == Some("ExternalName") {
        return BTreeSet::new();
    }
    let all = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    all.filter_map(|ip| ip.parse().ok()).collect()
}

fn service_port(
    namespace: &str,
    name: &str,
    spec: &ServiceSpec,
    port: &ApiPort,
    ip: IpAddr,
    slices: &[&EndpointSlice],
    node_name: &str,
) -> Option<ServicePort> {
    let protocol = Protocol::parse(port.protocol.as_deref())?;
    let everywhere = chosen(slices, port, ip, protocol, None);
    let here = || chosen(slices, port, ip, protocol, Some(node_name));
    let internal_local = spec.internal_traffic_policy.as_deref() == Some("Local");
    let keeps_source = spec.external_traffic_policy.as_deref() == Some("Local");
    Some(ServicePort {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ip,
        protocol,
        port: u16::try_from(port.port).ok()?,
        node_port: port
            .node_port
            .and_then(|port| u16::try_from(port).ok())
            .filter(|port| *port > 0),
        sticky: spec.session_affinity.as_deref() == Some("ClientIP"),
        endpoints: if internal_local {
            here()
        } else {
            everywhere.clone()
        },
        external_endpoints: if keeps_source { here() } else { everywhere },
        keeps_source,
    })
}

/// Ready endpoints; where there is none, those that still serve while terminating (KEP-1669).
fn chosen(
    slices: &[&EndpointSlice],
    port: &ApiPort,
    ip: IpAddr,
    protocol: Protocol,
    node: Option<&str>,
) -> Vec<SocketAddr> {
    let (mut ready, mut serving) = (BTreeSet::new(), BTreeSet::new());
    let family = if ip.is_ipv6() { "IPv6" } else { "IPv4" };
    for slice in slices.iter().filter(|slice| slice.address_type == family) {
        let Some(target) = target_port(slice, port, protocol) else {
            continue;
        };
        for endpoint in slice.endpoints.iter().flatten() {
            if node.is_some_and(|node| endpoint.node_name.as_deref() != Some(node)) {
                continue;
            }
            let addresses = addresses(endpoint, target);
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            if conditions.ready != Some(false) {
                ready.extend(addresses);
            } else if is_serving_its_end(&conditions) {
                serving.extend(addresses);
            }
        }
    }
    let chosen = if ready.is_empty() { serving } else { ready };
    chosen.into_iter().take(MOST_ENDPOINTS).collect()
}

fn is_serving_its_end(conditions: &EndpointConditions) -> bool {
    conditions.serving == Some(true) && conditions.terminating == Some(true)
}

/// One address per endpoint: the others of the list are the same pod (upstream takes the first as well).
fn addresses(endpoint: &Endpoint, port: u16) -> Option<SocketAddr> {
    let ip = endpoint.addresses.first()?.parse().ok()?;
    Some(SocketAddr::new(ip, port))
}

fn target_port(slice: &EndpointSlice, port: &ApiPort, protocol: Protocol) -> Option<u16> {
    let name = |name: &Option<String>| name.clone().unwrap_or_default();
    let mut fitting = slice.ports.iter().flatten().filter(|candidate| {
        name(&candidate.name) == name(&port.name)
            && Protocol::parse(candidate.protocol.as_deref()) == Some(protocol)
    });
    u16::try_from(fitting.next()?.port?).ok()
}

const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// Of one port; the choice among them is one map in one rule, and nft's own limits are far off.
const MOST_ENDPOINTS: usize = 10_000;
