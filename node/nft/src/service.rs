//! Services and EndpointSlices → ports with the endpoints that get their traffic.

use crate::balancer;
use crate::cidr::Cidr;
use crate::endpoint::{Slices, chosen};
use k8s_openapi::api::core::v1::{Service, ServicePort as ApiPort, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::collections::BTreeSet;
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

    pub(crate) fn parse(name: Option<&str>) -> Option<Self> {
        match name.unwrap_or("TCP") {
            "TCP" => Some(Protocol::Tcp),
            "UDP" => Some(Protocol::Udp),
            "SCTP" => Some(Protocol::Sctp),
            _ => None,
        }
    }
}

/// A port of one of the node's own addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    pub ip: IpAddr,
    pub protocol: Protocol,
    pub port: u16,
}

/// The node that the rules are for.
#[derive(Debug, Clone, Copy)]
pub struct Here<'a> {
    pub node: &'a str,
    pub addresses: &'a [IpAddr],
    /// Ports of these that no process has: load balancers of ours may use them.
    pub held: &'a BTreeSet<HostPort>,
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
    /// Addresses of this family that somebody routes here (`externalIPs`).
    pub external_ips: Vec<IpAddr>,
    /// Addresses of this family that a load balancer serves.
    pub balancer_ips: Vec<IpAddr>,
    /// Who may use those; `None` is everybody, an empty list nobody.
    pub source_ranges: Option<Vec<Cidr>>,
    /// A client stays with its endpoint (`sessionAffinity: ClientIP`).
    pub sticky: bool,
    /// All that can be used, wherever they are. None here, and every address refuses.
    pub cluster_endpoints: Vec<SocketAddr>,
    /// For traffic to the cluster address: those of this node alone when `internalTrafficPolicy` is Local.
    pub endpoints: Vec<SocketAddr>,
    /// For traffic from outside: those of this node alone when `externalTrafficPolicy` is Local.
    pub external_endpoints: Vec<SocketAddr>,
    /// External traffic keeps its source address (`externalTrafficPolicy: Local`).
    pub keeps_source: bool,
}

impl ServicePort {
    /// Has a way in from outside.
    pub(crate) fn is_external(&self) -> bool {
        self.node_port.is_some() || !(self.external_ips.is_empty() && self.balancer_ips.is_empty())
    }
}

/// All balanced ports, in a stable order. Headless and external-name Services have none.
pub fn service_ports<'a>(
    services: impl IntoIterator<Item = &'a Service>,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    here: &Here<'_>,
) -> Vec<ServicePort> {
    let slices = Slices::by_service(slices);
    let mut ports = Vec::new();
    for service in services {
        let Some(spec) = &service.spec else { continue };
        for ip in cluster_ips(spec) {
            let of = |port| service_port(service, spec, port, ip, slices.of(service), here);
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

pub(crate) fn cluster_ips(spec: &ServiceSpec) -> BTreeSet<IpAddr> {
    if spec.type_.as_deref() == Some("ExternalName") {
        return BTreeSet::new();
    }
    let all = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    all.filter_map(|ip| ip.parse().ok()).collect()
}

fn service_port(
    service: &Service,
    spec: &ServiceSpec,
    port: &ApiPort,
    ip: IpAddr,
    slices: &[&EndpointSlice],
    here: &Here<'_>,
) -> Option<ServicePort> {
    let protocol = Protocol::parse(port.protocol.as_deref())?;
    let number = u16::try_from(port.port).ok()?;
    let everywhere = chosen(slices, port, ip, protocol, None);
    let local = || chosen(slices, port, ip, protocol, Some(here.node));
    let internal_local = spec.internal_traffic_policy.as_deref() == Some("Local");
    let keeps_source = spec.external_traffic_policy.as_deref() == Some("Local");
    let choose = |own: bool| if own { local() } else { everywhere.clone() };
    let same_family = |other: &IpAddr| other.is_ipv6() == ip.is_ipv6();
    // Of the node's own addresses only where no process has the port.
    let usable = |ip: &IpAddr| {
        let claim = HostPort {
            ip: *ip,
            protocol,
            port: number,
        };
        !here.addresses.contains(ip) || here.held.contains(&claim)
    };
    let external = balancer::external_ips(spec).into_iter().filter(usable);
    let balanced = balancer::ips(service, protocol, number, here);
    let balancer_ips: Vec<IpAddr> = balanced.into_iter().filter(same_family).collect();
    Some(ServicePort {
        namespace: service.metadata.namespace.clone()?,
        name: service.metadata.name.clone()?,
        ip,
        protocol,
        port: number,
        node_port: port
            .node_port
            .and_then(|port| u16::try_from(port).ok())
            .filter(|port| *port > 0),
        external_ips: external.filter(same_family).collect(),
        source_ranges: balancer::source_ranges(service, ip.is_ipv6(), &balancer_ips, here),
        balancer_ips,
        sticky: spec.session_affinity.as_deref() == Some("ClientIP"),
        endpoints: choose(internal_local),
        external_endpoints: choose(keeps_source),
        cluster_endpoints: everywhere,
        keeps_source,
    })
}
