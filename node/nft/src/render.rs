//! The table's text.
//!
//! One table for both families, replaced as a whole in one transaction: a reader of it never meets half a Service, and
//! connections already translated keep their entries in the kernel. A packet costs one map lookup however many Services
//! there are.

use crate::cidr::Cidr;
use crate::service::{Protocol, ServicePort};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

/// What the rules need to know of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    pub table: String,
    /// All pods of the cluster.
    pub cluster_pods: Vec<Cidr>,
}

/// A script for `nft -f -` that puts the table in place of whatever it was.
pub fn render(network: &Network, ports: &[ServicePort]) -> String {
    let mut table = Table::default();
    for port in ports {
        table.add(port);
    }
    let mut text = format!(
        "add table inet {0}\ndelete table inet {0}\ntable inet {0} {{\n",
        network.table
    );
    for family in Family::BOTH {
        table.maps(family, &mut text);
    }
    table.service_chains(network, &mut text);
    base_chains(network, &mut text);
    text + "}\n"
}

/// A script that takes the table away, whether or not it is there.
pub fn removal(table: &str) -> String {
    format!("add table inet {table}\ndelete table inet {table}\n")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    V4,
    V6,
}

impl Family {
    const BOTH: [Family; 2] = [Family::V4, Family::V6];

    fn of(ip: IpAddr) -> Self {
        if ip.is_ipv6() { Family::V6 } else { Family::V4 }
    }

    fn number(self) -> u8 {
        match self {
            Family::V4 => 4,
            Family::V6 => 6,
        }
    }

    /// The header's name in rules.
    fn header(self) -> &'static str {
        match self {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        }
    }

    fn address_type(self) -> &'static str {
        match self {
            Family::V4 => "ipv4_addr",
            Family::V6 => "ipv6_addr",
        }
    }

    fn loopback(self) -> &'static str {
        match self {
            Family::V4 => "127.0.0.0/8",
            Family::V6 => "::1",
        }
    }
}

type Address = (IpAddr, Protocol, u16);
type NodePort = (Family, Protocol, u16);

/// The first of two claims to one address or node port wins: a duplicate would make nft refuse the whole table.
#[derive(Default)]
struct Table<'a> {
    services: BTreeMap<Address, &'a ServicePort>,
    refused: BTreeSet<Address>,
    node_ports: BTreeMap<NodePort, &'a ServicePort>,
    refused_node_ports: BTreeSet<NodePort>,
    endpoint_ips: BTreeSet<IpAddr>,
}

impl<'a> Table<'a> {
    fn add(&mut self, port: &'a ServicePort) {
        let address = (port.ip, port.protocol, port.port);
        if self.services.contains_key(&address) || self.refused.contains(&address) {
            return;
        }
        if port.endpoints.is_empty() {
            self.refused.insert(address);
        } else {
            self.services.insert(address, port);
        }
        self.endpoint_ips.extend(
            port.endpoints
                .iter()
                .chain(&port.external_endpoints)
                .map(SocketAddr::ip),
        );
        let Some(number) = port.node_port else { return };
        let key = (Family::of(port.ip), port.protocol, number);
        if self.node_ports.contains_key(&key) || self.refused_node_ports.contains(&key) {
            return;
        }
        if port.external_endpoints.is_empty() {
            self.refused_node_ports.insert(key);
        } else {
            self.node_ports.insert(key, port);
        }
    }

    fn maps(&self, family: Family, text: &mut String) {
        let (n, address) = (family.number(), family.address_type());
        let addressed =
            |(ip, protocol, port): &Address| format!("{ip} . {} . {port}", protocol.name());
        let numbered = |(_, protocol, port): &NodePort| format!("{} . {port}", protocol.name());
        let mine = |(ip, ..): &Address| Family::of(*ip) == family;
        let mine_too = |(own, ..): &NodePort| *own == family;
        let services = self.services.iter().filter(|(key, _)| mine(key));
        let services =
            services.map(|(key, port)| format!("{} : goto {}", addressed(key), chain(port)));
        let refused = self
            .refused
            .iter()
            .filter(|key| mine(key))
            .map(|key| format!("{} : goto refuse", addressed(key)));
        let by_address = format!("{address} . inet_proto . inet_service : verdict");
        map(text, &format!("services{n}"), &by_address, services);
        map(text, &format!("refused{n}"), &by_address, refused);
        let node_ports = self.node_ports.iter().filter(|(key, _)| mine_too(key));
        let node_ports = node_ports
            .map(|(key, port)| format!("{} : goto {}", numbered(key), external_chain(port)));
        let refused = self.refused_node_ports.iter().filter(|key| mine_too(key));
        let refused = refused.map(|key| format!("{} : goto refuse", numbered(key)));
        let by_port = "inet_proto . inet_service : verdict";
        map(text, &format!("node_ports{n}"), by_port, node_ports);
        map(text, &format!("refused_node_ports{n}"), by_port, refused);
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

    fn service_chains(&self, network: &Network, text: &mut String) {
        for port in self.services.values() {
            let header = Family::of(port.ip).header();
            let mut rules = Vec::new();
            rules.extend(
                pods(network, port.ip).map(|pods| format!("{header} saddr != {pods} {MARK}")),
            );
            rules.push(translate(port, &port.endpoints));
            chain_block(text, &chain(port), &rules);
        }
        for port in self.node_ports.values() {
            let mut rules = Vec::new();
            if !port.keeps_source {
                rules.push(MARK.to_owned());
            }
            rules.push(translate(port, &port.external_endpoints));
            chain_block(text, &external_chain(port), &rules);
        }
    }
}

/// Every new connection meets these.
fn base_chains(network: &Network, text: &mut String) {
    let mut dispatch = Vec::new();
    let mut refusals = Vec::new();
    let mut masquerade = Vec::new();
    for family in Family::BOTH {
        let (n, header, loopback) = (family.number(), family.header(), family.loopback());
        let local =
            format!("fib daddr type local {header} daddr != {loopback} meta l4proto . th dport");
        dispatch.push(format!(
            "{header} daddr . meta l4proto . th dport vmap @services{n}"
        ));
        dispatch.push(format!("{local} vmap @node_ports{n}"));
        refusals.push(format!(
            "ct state new {header} daddr . meta l4proto . th dport vmap @refused{n}"
        ));
        refusals.push(format!("ct state new {local} vmap @refused_node_ports{n}"));
        // A pod that reaches itself through a Service would see its own address as the peer and drop it.
        masquerade.push(format!(
            "{header} saddr . {header} daddr @hairpin{n} masquerade"
        ));
    }
    masquerade.push(format!(
        "meta mark & {BIT} == {BIT} meta mark set meta mark ^ {BIT} masquerade"
    ));
    for pods in &network.cluster_pods {
        let header = Family::of(pods.first()).header();
        masquerade.push(format!(
            "{header} saddr {pods} {header} daddr != {pods} masquerade"
        ));
    }
    chain_block(text, "dispatch", &dispatch);
    chain_block(
        text,
        "refuse",
        &[
            "meta l4proto tcp reject with tcp reset".into(),
            "reject with icmpx port-unreachable".into(),
        ],
    );
    chain_block(text, "refusals", &refusals);
    for (name, hook) in [
        ("prerouting", "prerouting priority dstnat"),
        ("output", "output priority -100"),
    ] {
        chain_block(
            text,
            name,
            &[
                format!("type nat hook {hook}; policy accept;"),
                "jump dispatch".into(),
            ],
        );
    }
    masquerade.insert(
        0,
        "type nat hook postrouting priority srcnat; policy accept;".into(),
    );
    chain_block(text, "postrouting", &masquerade);
    for hook in ["input", "forward", "output"] {
        let head = format!("type filter hook {hook} priority filter; policy accept;");
        chain_block(
            text,
            &format!("filter_{hook}"),
            &[head, "jump refusals".into()],
        );
    }
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
    let own = network
        .cluster_pods
        .iter()
        .filter(|pods| pods.is_ipv6() == ip.is_ipv6());
    let own: Vec<_> = own.map(ToString::to_string).collect();
    (!own.is_empty()).then(|| format!("{{ {} }}", own.join(", ")))
}

fn chain(port: &ServicePort) -> String {
    format!("service-{}", suffix(port))
}

fn external_chain(port: &ServicePort) -> String {
    format!("external-{}", suffix(port))
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

fn map(text: &mut String, name: &str, kind: &str, elements: impl Iterator<Item = String>) {
    block(text, "map", name, kind, elements);
}

fn block(
    text: &mut String,
    what: &str,
    name: &str,
    kind: &str,
    elements: impl Iterator<Item = String>,
) {
    let elements: Vec<_> = elements.collect();
    let _ = write!(text, "  {what} {name} {{\n    type {kind}\n");
    if !elements.is_empty() {
        let _ = write!(
            text,
            "    elements = {{\n      {}\n    }}\n",
            elements.join(",\n      ")
        );
    }
    text.push_str("  }\n");
}

fn chain_block(text: &mut String, name: &str, rules: &[String]) {
    let _ = write!(
        text,
        "  chain {name} {{\n    {}\n  }}\n",
        rules.join("\n    ")
    );
}

/// The bit that upstream uses for the same purpose.
const BIT: &str = "0x4000";
const MARK: &str = "meta mark set meta mark | 0x4000";
/// Fixed, so that every node and every rendering sends a client to the same endpoint.
const SEED: &str = "0x706f7274";
