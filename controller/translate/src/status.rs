//! The addresses that the status of our Ingresses should show.

use std::collections::BTreeSet;

use k8s_openapi::api::{
    core::v1::{Node, Pod, Service},
    networking::v1::Ingress,
};
use serde::Serialize;

use crate::{
    object::ObjectKey,
    settings::{Address, NodeAddresses, Settings},
    snapshot::Snapshot,
};

/// An Ingress whose published addresses differ from what they should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatusChange {
    pub ingress: ObjectKey,
    /// Sorted.
    pub addresses: Vec<Address>,
}

/// Where clients reach the proxies, in ingress-nginx's order: configured addresses, then those of the published
/// Service, then those of the proxies' nodes. None: not known, and no status is touched.
pub(crate) fn desired(snapshot: &Snapshot, settings: &Settings) -> Option<Vec<Address>> {
    let all: BTreeSet<Address> = match (&settings.publish_addresses, &settings.publish_service) {
        (given, _) if !given.is_empty() => given.iter().cloned().collect(),
        (_, Some(service)) => service_addresses(snapshot.services.get(service)?),
        (_, None) => node_addresses(snapshot, settings.publish_nodes?)?,
    };
    Some(one_kind(all))
}

pub(crate) fn published(ingress: &Ingress) -> Vec<Address> {
    let shown = ingress
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref())
        .and_then(|balancer| balancer.ingress.as_ref());
    let mut addresses: Vec<Address> = shown
        .into_iter()
        .flatten()
        .flat_map(|entry| entry.ip.iter().chain(entry.hostname.iter()))
        .map(|text| Address::parse(text))
        .collect();
    addresses.sort();
    addresses
}

/// ExternalDNS would make an A and a CNAME record of one name if both kinds were shown: IP addresses win.
fn one_kind(all: BTreeSet<Address>) -> Vec<Address> {
    let has_ip = all.iter().any(|address| matches!(address, Address::Ip(_)));
    all.into_iter()
        .filter(|address| !has_ip || matches!(address, Address::Ip(_)))
        .collect()
}

fn service_addresses(service: &Service) -> BTreeSet<Address> {
    let Some(spec) = &service.spec else {
        return BTreeSet::new();
    };
    let external = || spec.external_ips.iter().flatten().cloned();
    let cluster = || spec.cluster_ip.clone().filter(|ip| ip != "None");
    let texts: Vec<String> = match spec.type_.as_deref() {
        Some("ExternalName") => spec.external_name.iter().cloned().collect(),
        Some("LoadBalancer") => load_balancer(service).chain(external()).collect(),
        Some("NodePort") if spec.external_ips.iter().flatten().next().is_some() => {
            external().collect()
        }
        _ => cluster().into_iter().collect(),
    };
    texts.iter().map(|text| Address::parse(text)).collect()
}

/// None while no proxy is ready: nobody would answer at another address either, and the next one is likely to come up
/// where the last one was. A DNS record that vanishes in between would be missed for longer.
fn node_addresses(snapshot: &Snapshot, kind: NodeAddresses) -> Option<BTreeSet<Address>> {
    let ready = snapshot.pods.values().filter(|pod| is_ready(pod));
    let names = ready.filter_map(|pod| pod.spec.as_ref()?.node_name.clone());
    let nodes = names.filter_map(|name| snapshot.nodes.get(&ObjectKey::new("", name)));
    let all: BTreeSet<Address> = nodes.flat_map(|node| addresses_of(node, kind)).collect();
    (!all.is_empty()).then_some(all)
}

fn is_ready(pod: &Pod) -> bool {
    let Some(status) = &pod.status else {
        return false;
    };
    let mut conditions = status.conditions.iter().flatten();
    let is_ready = conditions.any(|one| one.type_ == "Ready" && one.status == "True");
    is_ready
        && status.phase.as_deref() == Some("Running")
        && pod.metadata.deletion_timestamp.is_none()
}

/// All of one type: a dual-stack node has one of each family.
fn addresses_of(node: &Node, kind: NodeAddresses) -> Vec<Address> {
    let status = node.status.as_ref();
    let all = status.and_then(|status| status.addresses.as_deref());
    let of_type = |wanted: &str| -> Vec<Address> {
        let found = all.unwrap_or_default().iter();
        let found = found.filter(|one| one.type_ == wanted && !one.address.is_empty());
        found.map(|one| Address::parse(&one.address)).collect()
    };
    match (of_type("ExternalIP"), kind) {
        (external, NodeAddresses::External) if !external.is_empty() => external,
        _ => of_type("InternalIP"),
    }
}

fn load_balancer(service: &Service) -> impl Iterator<Item = String> {
    let entries = service
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref())
        .and_then(|balancer| balancer.ingress.as_ref());
    entries
        .into_iter()
        .flatten()
        .flat_map(|entry| entry.ip.iter().chain(entry.hostname.iter()))
        .cloned()
}
