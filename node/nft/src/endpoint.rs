//! Which endpoints of its slices a Service's port has.

use crate::service::Protocol;
use k8s_openapi::api::core::v1::{Service, ServicePort as ApiPort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointSlice};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// EndpointSlices by the Service they belong to.
pub(crate) struct Slices<'a>(BTreeMap<(&'a str, &'a str), Vec<&'a EndpointSlice>>);

impl<'a> Slices<'a> {
    pub(crate) fn by_service(slices: impl IntoIterator<Item = &'a EndpointSlice>) -> Self {
        let mut by_service: BTreeMap<(&str, &str), Vec<&EndpointSlice>> = BTreeMap::new();
        for slice in slices {
            let labels = slice.metadata.labels.as_ref();
            let name = labels.and_then(|labels| labels.get(SERVICE_LABEL));
            if let (Some(namespace), Some(name)) = (slice.metadata.namespace.as_deref(), name) {
                by_service.entry((namespace, name)).or_default().push(slice);
            }
        }
        Slices(by_service)
    }

    pub(crate) fn of(&self, service: &'a Service) -> &[&'a EndpointSlice] {
        let metadata = &service.metadata;
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let name = metadata.name.as_deref().unwrap_or_default();
        self.0
            .get(&(namespace, name))
            .map(Vec::as_slice)
            .unwrap_or_default()
    }
}

/// Ready endpoints; where there is none, those that still serve while terminating (KEP-1669).
pub(crate) fn chosen(
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

/// How many ready endpoints are on a node.
pub(crate) fn ready_on(slices: &[&EndpointSlice], node: &str) -> usize {
    let endpoints = slices
        .iter()
        .flat_map(|slice| slice.endpoints.iter().flatten());
    let here = endpoints.filter(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        endpoint.node_name.as_deref() == Some(node)
            && conditions.is_none_or(|conditions| conditions.ready != Some(false))
    });
    let addresses = here.filter_map(|endpoint| endpoint.addresses.first());
    addresses.collect::<BTreeSet<_>>().len()
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
