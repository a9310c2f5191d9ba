//! The addresses that the status of our Ingresses should show.

use std::collections::BTreeSet;

use k8s_openapi::api::{core::v1::Service, networking::v1::Ingress};
use serde::Serialize;

use crate::{
    object::ObjectKey,
    settings::{Address, Settings},
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
/// Service. None: not known, and no status is touched.
pub(crate) fn desired(snapshot: &Snapshot, settings: &Settings) -> Option<Vec<Address>> {
    let all: BTreeSet<Address> = if settings.publish_addresses.is_empty() {
        let key = settings.publish_service.as_ref()?;
        service_addresses(snapshot.services.get(key)?)
    } else {
        settings.publish_addresses.iter().cloned().collect()
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
        .filter_map(|entry| entry.ip.as_ref().or(entry.hostname.as_ref()))
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
