//! Who has which address and node port, as maps from them to chains.

use super::chains::{external_chain, firewall_chain, service_chain};
use super::{Family, block};
use crate::service::{Protocol, ServicePort};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

type Address = (IpAddr, Protocol, u16);
type NodePort = (Family, Protocol, u16);

/// The first of two claims to one address or node port wins: a duplicate would make nft refuse the whole table. Cluster
/// addresses go first, so that nobody's external address takes a Service's own.
#[derive(Default)]
pub(super) struct Table<'a> {
    /// Those that have their cluster address.
    pub ports: Vec<&'a ServicePort>,
    /// Address → chain.
    services: BTreeMap<Address, String>,
    /// What of these becomes of packets that no chain sent on: address → verdict.
    unserved: BTreeMap<Address, Unserved>,
    node_ports: BTreeMap<NodePort, String>,
    unserved_node_ports: BTreeMap<NodePort, Unserved>,
    endpoint_ips: BTreeSet<IpAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unserved {
    /// Nobody has an endpoint: the client shall know at once.
    Refuse,
    /// Others have one: the client shall try them.
    Drop,
}

impl Unserved {
    fn of(port: &ServicePort) -> Self {
        match port.cluster_endpoints.is_empty() {
            true => Unserved::Refuse,
            false => Unserved::Drop,
        }
    }

    fn verdict(self) -> &'static str {
        match self {
            Unserved::Refuse => "goto refuse",
            Unserved::Drop => "drop",
        }
    }
}

impl<'a> Table<'a> {
    pub(super) fn of(ports: &'a [ServicePort]) -> Self {
        let mut table = Table::default();
        for port in ports {
            table.add_cluster_address(port);
        }
        for port in table.ports.clone() {
            for ip in &port.balancer_ips {
                let guard = port.source_ranges.as_ref().map(|_| firewall_chain(port));
                table.add_external_address(port, *ip, guard.or_else(|| open(port)));
            }
            // After those, so that naming an address here as well opens no way around its source ranges.
            for ip in &port.external_ips {
                table.add_external_address(port, *ip, open(port));
            }
            table.add_node_port(port);
        }
        table
    }

    fn add_cluster_address(&mut self, port: &'a ServicePort) {
        let address = (port.ip, port.protocol, port.port);
        if self.is_taken(&address) {
            return;
        }
        if port.endpoints.is_empty() {
            self.unserved.insert(address, Unserved::of(port));
        } else {
            self.services.insert(address, service_chain(port));
        }
        let used = port.cluster_endpoints.iter().chain(&port.endpoints);
        let used = used.chain(&port.external_endpoints);
        self.endpoint_ips.extend(used.map(SocketAddr::ip));
        self.ports.push(port);
    }

    fn add_external_address(&mut self, port: &ServicePort, ip: IpAddr, chain: Option<String>) {
        let address = (ip, port.protocol, port.port);
        if self.is_taken(&address) {
            return;
        }
        if let Some(chain) = chain {
            self.services.insert(address, chain);
        }
        if port.external_endpoints.is_empty() {
            self.unserved.insert(address, Unserved::of(port));
        }
    }

    fn add_node_port(&mut self, port: &ServicePort) {
        let Some(number) = port.node_port else { return };
        let key = (Family::of(port.ip), port.protocol, number);
        if self.node_ports.contains_key(&key) || self.unserved_node_ports.contains_key(&key) {
            return;
        }
        if let Some(chain) = open(port) {
            self.node_ports.insert(key, chain);
        }
        if port.external_endpoints.is_empty() {
            self.unserved_node_ports.insert(key, Unserved::of(port));
        }
    }

    fn is_taken(&self, address: &Address) -> bool {
        self.services.contains_key(address) || self.unserved.contains_key(address)
    }

    pub(super) fn maps(&self, family: Family, text: &mut String) {
        let (n, address) = (family.number(), family.address_type());
        let by_address = format!("{address} . inet_proto . inet_service : verdict");
        let by_port = "inet_proto . inet_service : verdict";
        let mine = |(ip, ..): &Address| Family::of(*ip) == family;
        let addressed =
            |(ip, protocol, port): &Address| format!("{ip} . {} . {port}", protocol.name());
        let numbered = |(_, protocol, port): &NodePort| format!("{} . {port}", protocol.name());
        let services = self.services.iter().filter(|(key, _)| mine(key));
        let services = services.map(|(key, to)| format!("{} : goto {to}", addressed(key)));
        block(text, "map", &format!("services{n}"), &by_address, services);
        let unserved = self.unserved.iter().filter(|(key, _)| mine(key));
        let unserved =
            unserved.map(|(key, fate)| format!("{} : {}", addressed(key), fate.verdict()));
        block(text, "map", &format!("unserved{n}"), &by_address, unserved);
        let ports = self.node_ports.iter().filter(|(key, _)| key.0 == family);
        let ports = ports.map(|(key, to)| format!("{} : goto {to}", numbered(key)));
        block(text, "map", &format!("node_ports{n}"), by_port, ports);
        let ports = self.unserved_node_ports.iter();
        let ports = ports.filter(|(key, _)| key.0 == family);
        let ports = ports.map(|(key, fate)| format!("{} : {}", numbered(key), fate.verdict()));
        block(
            text,
            "map",
            &format!("unserved_node_ports{n}"),
            by_port,
            ports,
        );
        let ips = self
            .endpoint_ips
            .iter()
            .filter(|ip| Family::of(**ip) == family)
            .map(|ip| format!("{ip} . {ip}"));
        block(
            text,
            "set",
            &format!("hairpin{n}"),
            &format!("{address} . {address}"),
            ips,
        );
    }
}

/// Whether external traffic has a chain. It needs one even where no endpoint is for it: pods and the node itself use any.
pub(super) fn has_chain(port: &ServicePort) -> bool {
    port.is_external() && !port.cluster_endpoints.is_empty()
}

/// The way in without a guard.
fn open(port: &ServicePort) -> Option<String> {
    has_chain(port).then(|| external_chain(port))
}
