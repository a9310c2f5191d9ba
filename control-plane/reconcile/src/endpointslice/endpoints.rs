//! From pods to endpoints, grouped by what may share a slice: address family and resolved ports.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Observed;
use crate::{pod, selector};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub fn address_type(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }
}

/// Endpoints that may share slices.
pub(super) struct Group {
    pub family: Family,
    pub ports: Vec<EndpointPort>,
    /// By pod UID.
    pub endpoints: BTreeMap<String, Endpoint>,
}

/// One group per family and port set; an empty group where a family has no pod, so consumers see "none" and not "unknown".
pub(super) fn groups(observed: &Observed<'_>, service: &Service, spec: &ServiceSpec) -> Vec<Group> {
    let wanted = spec
        .selector
        .as_ref()
        .expect("a Service without selector was turned away before");
    let mut groups = Vec::new();
    for family in families(spec) {
        let mut by_ports: BTreeMap<String, Group> = BTreeMap::new();
        for pod in observed
            .pods
            .iter()
            .filter(|pod| selector::matches_map(wanted, pod.metadata.labels.as_ref()))
        {
            let Some(address) = address(pod, family).filter(|_| !pod::is_terminal(pod)) else {
                continue;
            };
            let ports = ports(pod, spec);
            let key = serde_json::to_string(&ports).expect("ports are plain JSON");
            let group = by_ports.entry(key).or_insert(Group {
                family,
                ports,
                endpoints: BTreeMap::new(),
            });
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            group
                .endpoints
                .insert(uid, endpoint(pod, address, service, spec, observed.zones));
        }
        if by_ports.is_empty() {
            groups.push(Group {
                family,
                ports: Vec::new(),
                endpoints: BTreeMap::new(),
            });
        }
        groups.extend(by_ports.into_values());
    }
    groups
}

fn families(spec: &ServiceSpec) -> Vec<Family> {
    let named = spec
        .ip_families
        .iter()
        .flatten()
        .filter_map(|name| match name.as_str() {
            "IPv4" => Some(Family::V4),
            "IPv6" => Some(Family::V6),
            _ => None,
        });
    let mut families: Vec<Family> = named.collect();
    if families.is_empty() {
        let cluster_ip = spec
            .cluster_ip
            .as_deref()
            .and_then(|text| text.parse().ok());
        families.push(cluster_ip.map_or(Family::V4, Family::of));
    }
    families
}

fn address(pod: &Pod, family: Family) -> Option<IpAddr> {
    let status = pod.status.as_ref()?;
    let listed = status
        .pod_ips
        .iter()
        .flatten()
        .map(|entry| entry.ip.as_str());
    let mut addresses = listed
        .chain(status.pod_ip.as_deref())
        .filter_map(|text| text.parse::<IpAddr>().ok());
    addresses.find(|address| Family::of(*address) == family)
}

fn ports(pod: &Pod, spec: &ServiceSpec) -> Vec<EndpointPort> {
    let ports = spec.ports.iter().flatten().filter_map(|port| {
        Some(EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
            port: Some(target_port(pod, port)?),
            app_protocol: port.app_protocol.clone(),
        })
    });
    ports.collect()
}

/// The number behind `targetPort`; `None` where this pod does not name such a port.
fn target_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    let name = match &port.target_port {
        None => return Some(port.port),
        Some(IntOrString::Int(0)) => return Some(port.port),
        Some(IntOrString::Int(number)) => return Some(*number),
        Some(IntOrString::String(name)) => name,
    };
    let spec = pod.spec.as_ref()?;
    // Restartable init containers (KEP-753) serve too.
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|init| init.restart_policy.as_deref() == Some("Always"));
    let declared = spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| container.ports.iter().flatten());
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    declared
        .filter(|declared| declared.name.as_ref() == Some(name))
        .find(|declared| declared.protocol.as_deref().unwrap_or("TCP") == protocol)
        .map(|declared| declared.container_port)
}

fn endpoint(
    pod: &Pod,
    address: IpAddr,
    service: &Service,
    spec: &ServiceSpec,
    zones: &BTreeMap<String, String>,
) -> Endpoint {
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let publish = spec.publish_not_ready_addresses == Some(true);
    let serving = pod::is_ready(pod);
    let node = pod::node_name(pod);
    let pod_spec = pod.spec.as_ref();
    let subdomain = pod_spec.and_then(|spec| spec.subdomain.as_ref());
    let hostname = pod_spec
        .and_then(|spec| spec.hostname.clone())
        .filter(|name| !name.is_empty());
    Endpoint {
        addresses: vec![address.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(publish || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: hostname
            .filter(|_| subdomain.is_some() && subdomain == service.metadata.name.as_ref()),
        node_name: node.map(str::to_owned),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        zone: node.and_then(|node| zones.get(node)).cloned(),
        ..Endpoint::default()
    }
}
