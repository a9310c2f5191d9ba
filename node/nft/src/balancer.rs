//! What a node does for Services of type LoadBalancer: ports to hold, addresses to serve, questions to answer.

use crate::cidr::Cidr;
use crate::endpoint::{Slices, ready_on};
use crate::service::{Here, HostPort, Protocol, cluster_ips};
use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Ports of the node's addresses that load balancers of ours and `externalIPs` would use: whoever serves them has to hold them first, so that
/// no process of the host loses a port without a word.
pub fn wanted_ports<'a>(
    services: impl IntoIterator<Item = &'a Service>,
    addresses: &[IpAddr],
) -> BTreeSet<HostPort> {
    let mut wanted = BTreeSet::new();
    for service in services {
        let Some(spec) = &service.spec else { continue };
        if service.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let own = cluster_ips(spec);
        let external = external_ips(spec);
        let same_family = |ip: &&IpAddr| {
            (is_ours(service) || external.contains(ip))
                && own.iter().any(|own| own.is_ipv6() == ip.is_ipv6())
        };
        for port in spec.ports.iter().flatten() {
            let protocol = Protocol::parse(port.protocol.as_deref());
            let (Some(protocol), Ok(port)) = (protocol, u16::try_from(port.port)) else {
                continue;
            };
            let of = |ip: &IpAddr| HostPort {
                ip: *ip,
                protocol,
                port,
            };
            wanted.extend(addresses.iter().filter(same_family).map(of));
        }
    }
    wanted
}

/// A Service whose load balancers ask each node for endpoints of its own (`healthCheckNodePort`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HealthCheck {
    pub port: u16,
    pub namespace: String,
    pub name: String,
    /// Ready ones on this node.
    pub local_endpoints: usize,
}

/// What is asked for on `node`, of any load balancer's class.
pub fn health_checks<'a>(
    services: impl IntoIterator<Item = &'a Service>,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    node: &str,
) -> Vec<HealthCheck> {
    let slices = Slices::by_service(slices);
    let check = |service: &'a Service| {
        let spec = service.spec.as_ref()?;
        let local = spec.external_traffic_policy.as_deref() == Some("Local");
        let port = u16::try_from(spec.health_check_node_port?).ok()?;
        (local && is_balanced(service) && port != 0).then(|| HealthCheck {
            port,
            namespace: service.metadata.namespace.clone().unwrap_or_default(),
            name: service.metadata.name.clone().unwrap_or_default(),
            local_endpoints: ready_on(slices.of(service), node),
        })
    };
    services.into_iter().filter_map(check).collect()
}

/// Addresses that a load balancer gives the Service and that this node serves for a port. Of its own addresses only where
/// it holds the port, unless another load balancer says so.
pub(crate) fn ips(
    service: &Service,
    protocol: Protocol,
    port: u16,
    here: &Here<'_>,
) -> BTreeSet<IpAddr> {
    if !is_balanced(service) {
        return BTreeSet::new();
    }
    let status = service.status.as_ref();
    let balancer = status.and_then(|status| status.load_balancer.as_ref());
    let given = balancer
        .into_iter()
        .flat_map(|b| b.ingress.iter().flatten());
    // With any other mode packets come through the load balancer, and shall go back through it.
    let direct = given.filter(|given| given.ip_mode.as_deref().is_none_or(|mode| mode == "VIP"));
    // The node's own address is given for ports: one that the Service asks for since may be somebody else's.
    let for_this_port = |given: &LoadBalancerIngress| {
        let mut ports = given.ports.iter().flatten();
        ports.any(|of| {
            of.port == i32::from(port) && Protocol::parse(Some(&of.protocol)) == Some(protocol)
        })
    };
    let serves = |ip: &IpAddr, given: &LoadBalancerIngress| {
        let claim = HostPort {
            ip: *ip,
            protocol,
            port,
        };
        !(is_ours(service) && here.addresses.contains(ip))
            || (here.held.contains(&claim) && for_this_port(given))
    };
    let ips = direct.filter_map(|given| Some((given.ip.as_deref()?.parse().ok()?, given)));
    ips.filter(|(ip, given)| serves(ip, given))
        .map(|(ip, _)| ip)
        .collect()
}

/// Addresses that somebody routes to the nodes for the Service (`externalIPs`).
pub(crate) fn external_ips(spec: &ServiceSpec) -> Vec<IpAddr> {
    let all = spec.external_ips.iter().flatten();
    all.filter_map(|ip| ip.parse().ok()).collect()
}

/// Who may use a load balancer's addresses of one family. Ranges of the other family alone admit nobody of this one: who
/// lists clients means all others to stay out.
pub(crate) fn source_ranges(
    service: &Service,
    ipv6: bool,
    balancer_ips: &[IpAddr],
    here: &Here<'_>,
) -> Option<Vec<Cidr>> {
    let spec = service.spec.as_ref()?;
    let field = spec.load_balancer_source_ranges.iter().flatten();
    let mut texts: Vec<&str> = field.map(String::as_str).collect();
    if texts.is_empty() {
        let annotations = service.metadata.annotations.as_ref()?;
        let listed = annotations.get(SOURCE_RANGES_ANNOTATION)?;
        texts = listed
            .split(',')
            .filter(|text| !text.trim().is_empty())
            .collect();
    }
    if texts.is_empty() {
        return None;
    }
    let ranges = texts.iter().filter_map(|text| text.trim().parse().ok());
    let mut ranges: Vec<Cidr> = ranges
        .filter(|range: &Cidr| range.is_ipv6() == ipv6)
        .collect();
    // A node that holds the address itself sends from it: it may, where the node may.
    let node_may = |ip: &IpAddr| ranges.iter().any(|range| range.contains(*ip));
    if here.addresses.iter().any(node_may) {
        ranges.extend(balancer_ips.iter().copied().map(Cidr::of));
    }
    if ranges.iter().any(Cidr::is_everything) {
        return None;
    }
    // nft takes no overlapping ranges.
    ranges.sort();
    ranges.dedup();
    let inside = |range: &Cidr| {
        let mut others = ranges.iter().filter(|other| *other != range);
        others.any(|other| other.covers(range))
    };
    Some(ranges.iter().filter(|r| !inside(r)).copied().collect())
}

fn is_balanced(service: &Service) -> bool {
    let kind = service.spec.as_ref().and_then(|spec| spec.type_.as_deref());
    kind == Some("LoadBalancer")
}

/// Balanced by the nodes' own addresses: without a class, or with that of this.
fn is_ours(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    let class = spec.and_then(|spec| spec.load_balancer_class.as_deref());
    is_balanced(service) && class.is_none_or(|class| class == CLASS)
}

/// What stands for `spec.loadBalancerSourceRanges` where that is empty, comma-separated.
const SOURCE_RANGES_ANNOTATION: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
/// `spec.loadBalancerClass` of Services that get the nodes' addresses.
const CLASS: &str = "portcullis.dev/node";
