//! The chains of each Service port: who may use it, whose address is masked, which endpoint is chosen.

use super::table::{Table, has_chain};
use super::{Family, MARK, Network, chain_block};
use crate::cidr::Cidr;
use crate::service::ServicePort;
use std::net::{IpAddr, SocketAddr};

pub(super) fn of_services(table: &Table<'_>, network: &Network, text: &mut String) {
    for port in &table.ports {
        if !port.endpoints.is_empty() {
            let header = Family::of(port.ip).header();
            let mut rules = Vec::new();
            rules.extend(
                pods(network, port.ip).map(|pods| format!("{header} saddr != {pods} {MARK}")),
            );
            rules.push(translate(port, &port.endpoints));
            chain_block(text, &service_chain(port), &rules);
        }
        if has_chain(port) {
            if port.keeps_source {
                let rules = [translate(port, &port.cluster_endpoints)];
                chain_block(text, &cluster_chain(port), &rules);
            }
            chain_block(text, &external_chain(port), &external(port, network));
        }
        if let Some(ranges) = &port.source_ranges
            && !port.balancer_ips.is_empty()
        {
            chain_block(text, &firewall_chain(port), &firewall(port, ranges));
        }
    }
}

/// Traffic by node port, external or load balancer's address.
fn external(port: &ServicePort, network: &Network) -> Vec<String> {
    if !port.keeps_source {
        // The endpoint may be on another node, and its answer has to come back this way.
        return vec![MARK.to_owned(), translate(port, &port.external_endpoints)];
    }
    let (header, cluster) = (Family::of(port.ip).header(), cluster_chain(port));
    let mut rules = Vec::new();
    // A pod, and the node itself, would reach every endpoint by way of the load balancer: they may here as well.
    if let Some(pods) = pods(network, port.ip) {
        rules.push(format!("{header} saddr {pods} goto {cluster}"));
    }
    rules.push(format!("fib saddr type local {MARK}"));
    rules.push(format!("fib saddr type local goto {cluster}"));
    if !port.external_endpoints.is_empty() {
        rules.push(translate(port, &port.external_endpoints));
    }
    rules
}

fn firewall(port: &ServicePort, ranges: &[Cidr]) -> Vec<String> {
    let header = Family::of(port.ip).header();
    let others = match ranges {
        [] => "drop".to_owned(),
        ranges => format!("{header} saddr != {} drop", set(ranges.iter())),
    };
    let mut rules = vec![others];
    if has_chain(port) {
        rules.push(format!("goto {}", external_chain(port)));
    }
    rules
}

fn translate(port: &ServicePort, endpoints: &[SocketAddr]) -> String {
    let header = Family::of(port.ip).header();
    let count = endpoints.len();
    let targets: Vec<_> = endpoints
        .iter()
        .enumerate()
        .map(|(index, to)| format!("{index} : {} . {}", to.ip(), to.port()))
        .collect();
    // A hash of the client keeps no state, so replacing the table does not forget who belongs where.
    let choice = match port.sticky {
        true => format!("jhash {header} saddr mod {count} seed {SEED}"),
        false => format!("numgen random mod {count}"),
    };
    format!(
        "meta l4proto {} dnat {header} to {choice} map {{ {} }}",
        port.protocol.name(),
        targets.join(", ")
    )
}

fn pods(network: &Network, ip: IpAddr) -> Option<String> {
    let pods = network.cluster_pods.iter();
    let own: Vec<_> = pods.filter(|pods| pods.is_ipv6() == ip.is_ipv6()).collect();
    (!own.is_empty()).then(|| set(own.into_iter()))
}

fn set<'a>(ranges: impl Iterator<Item = &'a Cidr>) -> String {
    let ranges: Vec<_> = ranges.map(ToString::to_string).collect();
    format!("{{ {} }}", ranges.join(", "))
}

pub(super) fn service_chain(port: &ServicePort) -> String {
    format!("service-{}", suffix(port))
}

pub(super) fn external_chain(port: &ServicePort) -> String {
    format!("external-{}", suffix(port))
}

/// All endpoints, whatever the policies say.
fn cluster_chain(port: &ServicePort) -> String {
    format!("cluster-{}", suffix(port))
}

pub(super) fn firewall_chain(port: &ServicePort) -> String {
    format!("firewall-{}", suffix(port))
}

fn suffix(port: &ServicePort) -> String {
    let family = Family::of(port.ip).number();
    format!(
        "{}/{}/{}/{}/{family}",
        port.namespace,
        port.name,
        port.protocol.name(),
        port.port
    )
}

/// Fixed, so that every node and every rendering sends a client to the same endpoint.
const SEED: &str = "0x706f7274";
