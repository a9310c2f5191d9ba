//! Golden rulesets, and packets walked through the rendered text against a naive reading of Service semantics.

mod walk;

use super::*;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use proptest::collection::vec;
use proptest::prelude::*;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use walk::{Fate, Packet, Place, Rules};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    node: String,
    /// The node's own.
    #[serde(default)]
    addresses: Vec<IpAddr>,
    /// Ports of these that the node holds, as `tcp/80`.
    #[serde(default)]
    held: Vec<String>,
    pods: Vec<String>,
    services: Vec<Service>,
    endpoint_slices: Vec<EndpointSlice>,
}

impl Case {
    fn held(&self) -> BTreeSet<HostPort> {
        let ports = wanted_ports(&self.services, &self.addresses);
        let named = |port: &HostPort| format!("{}/{}", port.protocol.name(), port.port);
        let held = ports.into_iter();
        held.filter(|port| self.held.contains(&named(port)))
            .collect()
    }
}

#[test]
fn cases() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut checked = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if let Some(stem) = path.to_str().unwrap().strip_suffix(".in.yaml") {
            check(&path, Path::new(&format!("{stem}.out.yaml")));
            checked += 1;
        }
    }
    assert!(checked >= 4, "only {checked} cases");
}

fn check(input: &Path, output: &Path) {
    let case: Case = serde_saphyr::from_str(&std::fs::read_to_string(input).unwrap()).unwrap();
    let here = Here {
        node: &case.node,
        addresses: &case.addresses,
        held: &case.held(),
    };
    let ports = service_ports(&case.services, &case.endpoint_slices, &here);
    let pods = case.pods.iter().map(|pods| pods.parse().unwrap()).collect();
    let text = render(
        &Network {
            table: "portcullis".into(),
            cluster_pods: pods,
        },
        &ports,
    );
    // The hooks are the same in every case; what differs is above them.
    let (own, _) = text.split_once("  chain dispatch").unwrap();
    let lines: String = own
        .lines()
        .skip(3)
        .map(|line| format!("{line}\n"))
        .collect();
    let actual = format!("ruleset: |\n{lines}");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(output, &actual).unwrap();
    }
    let expected = std::fs::read_to_string(output).unwrap_or_default();
    assert_eq!(actual, expected, "{}", input.display());
}

fn network() -> Network {
    Network {
        table: "t".into(),
        cluster_pods: vec![
            "10.42.0.0/16".parse().unwrap(),
            "fd42::/48".parse().unwrap(),
        ],
    }
}

/// Few enough values that packets often hit.
fn pod_ip(family: bool, host: u8) -> IpAddr {
    let text = if family {
        format!("fd42::{host:x}")
    } else {
        format!("10.42.0.{host}")
    };
    text.parse().unwrap()
}

fn cluster_ip(family: bool, host: u8) -> IpAddr {
    let text = if family {
        format!("fd43::{host:x}")
    } else {
        format!("10.43.0.{host}")
    };
    text.parse().unwrap()
}

fn node_ip(family: bool) -> IpAddr {
    if family {
        "fd00::2".parse().unwrap()
    } else {
        "192.0.2.2".parse().unwrap()
    }
}

fn protocols() -> impl Strategy<Value = Protocol> {
    prop_oneof![
        Just(Protocol::Tcp),
        Just(Protocol::Udp),
        Just(Protocol::Sctp)
    ]
}

/// Addresses that are routed here; the node's own is served by load balancers only.
fn external_ip(family: bool, host: u8) -> IpAddr {
    let text = match (family, host) {
        (_, 0) => return node_ip(family),
        (true, host) => format!("2001:db8:1::{host:x}"),
        (false, host) => format!("203.0.113.{host}"),
    };
    text.parse().unwrap()
}

fn outside(family: bool) -> IpAddr {
    let text = if family {
        "2001:db8::9"
    } else {
        "198.51.100.9"
    };
    text.parse().unwrap()
}

/// Of the family's own: some clients, the node, pods, nobody.
fn ranges(family: bool, choices: &BTreeSet<u8>) -> Vec<Cidr> {
    let texts = match family {
        true => ["2001:db8::/64", "fd00::/64", "fd42::2/127"],
        false => ["198.51.100.0/24", "192.0.2.2/32", "10.42.0.2/31"],
    };
    let chosen = texts.iter().enumerate();
    let chosen = chosen.filter(|(index, _)| choices.contains(&(*index as u8)));
    chosen.map(|(_, text)| text.parse().unwrap()).collect()
}

fn ports() -> impl Strategy<Value = ServicePort> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let own = (1..5u8, protocols(), 80..83u16);
    let ways = (
        prop::option::of(30000..30003u16),
        vec(1..3u8, 0..2),
        vec(0..3u8, 0..2),
        prop::option::of(prop::collection::btree_set(0..3u8, 0..3)),
    );
    let endpoints = prop::collection::btree_set((1..6u8, 80..82u16), 0..4);
    (flags, own, ways, endpoints).prop_map(|(flags, own, ways, endpoints)| {
        let (v6, sticky, keeps_source, internal_local) = flags;
        let (host, protocol, port) = own;
        let (node_port, external, balanced, admitted) = ways;
        let socket = |(host, port): (u8, u16)| SocketAddr::new(pod_ip(v6, host), port);
        let all: Vec<SocketAddr> = endpoints.iter().copied().map(socket).collect();
        // The first two pods are on this node.
        let local = endpoints.into_iter().filter(|(host, _)| *host < 3);
        let local: Vec<SocketAddr> = local.map(socket).collect();
        let choose = |own: bool| if own { local.clone() } else { all.clone() };
        let addresses = |hosts: Vec<u8>| hosts.into_iter().map(|host| external_ip(v6, host));
        ServicePort {
            namespace: "default".into(),
            name: format!("s{host}"),
            ip: cluster_ip(v6, host),
            protocol,
            port,
            node_port,
            external_ips: addresses(external).collect(),
            balancer_ips: addresses(balanced).collect(),
            source_ranges: admitted.map(|admitted| ranges(v6, &admitted)),
            sticky,
            endpoints: choose(internal_local),
            external_endpoints: choose(keeps_source),
            cluster_endpoints: all.clone(),
            keeps_source,
        }
    })
}

fn packets() -> impl Strategy<Value = Packet> {
    let places = prop_oneof![Just(Place::Arriving), Just(Place::Host)];
    (
        any::<bool>(),
        0..6u8,
        0..10u8,
        protocols(),
        prop_oneof![80..83u16, 30000..30003u16],
        places,
    )
        .prop_map(|(v6, from, to, protocol, port, place)| {
            let loopback: IpAddr = if v6 {
                "::1".parse().unwrap()
            } else {
                "127.0.0.1".parse().unwrap()
            };
            let from = match (place, from) {
                (Place::Host, _) => node_ip(v6),
                (Place::Arriving, 0) => outside(v6),
                (Place::Arriving, host) => pod_ip(v6, host),
            };
            let to = match to {
                0 => node_ip(v6),
                5 => loopback,
                6 => outside(v6),
                7 => pod_ip(v6, 1),
                8 => external_ip(v6, 1),
                9 => external_ip(v6, 2),
                host => cluster_ip(v6, host),
            };
            Packet {
                from,
                to,
                protocol,
                port,
                place,
                to_this_node: [node_ip(v6), loopback].contains(&to),
                from_this_node: place == Place::Host,
            }
        })
}

/// What Services mean, said without tables: the first that claims the address has it.
fn twin(ports: &[ServicePort], packet: &Packet) -> Vec<Fate> {
    let from_pod = is_pod(packet.from);
    let mine: Vec<&ServicePort> = ports
        .iter()
        .filter(|port| first_claim(ports, port))
        .filter(|port| port.protocol == packet.protocol)
        .filter(|port| port.ip.is_ipv6() == packet.to.is_ipv6())
        .collect();
    let fates = |endpoints: &[SocketAddr], masked: bool| -> Vec<Fate> {
        let fate = |to: &SocketAddr| Fate::Sent {
            to: *to,
            masked: masked || to.ip() == packet.from,
        };
        endpoints.iter().map(fate).collect()
    };
    let at = |port: &&&ServicePort| port.port == packet.port;
    let inside = mine.iter().filter(at).find(|port| port.ip == packet.to);
    if let Some(port) = inside {
        return match (port.cluster_endpoints.is_empty(), port.endpoints.is_empty()) {
            (true, _) => vec![Fate::Refused],
            (false, true) => vec![Fate::Dropped],
            (false, false) => fates(&port.endpoints, !from_pod),
        };
    }
    let external = |port: &ServicePort| {
        if port.cluster_endpoints.is_empty() {
            return vec![Fate::Refused];
        }
        match (port.keeps_source, from_pod, packet.from_this_node) {
            (false, ..) => fates(&port.external_endpoints, true),
            (true, true, _) => fates(&port.cluster_endpoints, false),
            (true, false, true) => fates(&port.cluster_endpoints, true),
            (true, ..) if port.external_endpoints.is_empty() => vec![Fate::Dropped],
            (true, ..) => fates(&port.external_endpoints, false),
        }
    };
    let names = |port: &&&ServicePort| {
        port.balancer_ips.contains(&packet.to) || port.external_ips.contains(&packet.to)
    };
    if let Some(port) = mine.iter().filter(at).find(names) {
        let guarded = port.balancer_ips.contains(&packet.to);
        let admits = |ranges: &Vec<Cidr>| ranges.iter().any(|range| range.contains(packet.from));
        if guarded && !port.source_ranges.as_ref().is_none_or(admits) {
            return vec![Fate::Dropped];
        }
        return external(port);
    }
    let on_node = packet.to_this_node && !packet.to.is_loopback();
    let by_node_port = mine.iter().find(|port| port.node_port == Some(packet.port));
    if let Some(port) = by_node_port.filter(|_| on_node) {
        return external(port);
    }
    // Straight to a pod, even itself, keeps its source; only what leaves the cluster is masked.
    let itself = packet.from == packet.to && all_endpoints(ports).contains(&packet.to);
    let masked = (from_pod && !is_pod(packet.to) && !packet.to_this_node) || itself;
    vec![Fate::Passed { masked }]
}

fn is_pod(ip: IpAddr) -> bool {
    network().cluster_pods.iter().any(|pods| pods.contains(ip))
}

/// Among ports of one cluster address the first counts, also for its node port.
fn first_claim(ports: &[ServicePort], port: &ServicePort) -> bool {
    let key = |port: &ServicePort| (port.ip, port.protocol, port.port);
    ports
        .iter()
        .find(|other| key(other) == key(port))
        .is_some_and(|first| std::ptr::eq(first, port))
}

fn all_endpoints(ports: &[ServicePort]) -> BTreeSet<IpAddr> {
    let ports = ports.iter().filter(|port| first_claim(ports, port));
    ports
        .flat_map(|port| &port.cluster_endpoints)
        .map(SocketAddr::ip)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_packet_goes_where_the_services_say(ports in vec(ports(), 0..8), packets in vec(packets(), 1..20)) {
        let text = render(&network(), &ports);
        let rules = Rules::parse(&text);
        for packet in packets {
            let mut expected = twin(&ports, &packet);
            let mut actual = rules.walk(&packet);
            expected.sort();
            actual.sort();
            prop_assert_eq!(actual, expected, "{:?}\n{}", packet, text);
        }
    }

    #[test]
    fn the_text_depends_on_the_values_alone(ports in vec(ports(), 0..8)) {
        prop_assert_eq!(render(&network(), &ports), render(&network(), &ports.clone()));
    }
}

#[test]
fn ranges_parse_contain_and_count() {
    let range: Cidr = "10.42.3.9/16".parse().unwrap();
    assert_eq!(range.to_string(), "10.42.0.0/16");
    assert!(range.contains("10.42.255.1".parse().unwrap()));
    assert!(!range.contains("10.43.0.1".parse().unwrap()));
    assert_eq!(range.nth(10), Some("10.42.0.10".parse().unwrap()));
    assert_eq!("10.0.0.0/31".parse::<Cidr>().unwrap().nth(2), None);
    assert!(
        "::/0"
            .parse::<Cidr>()
            .unwrap()
            .contains("fd00::1".parse().unwrap())
    );
    for bad in ["10.42.0.0", "10.42.0.0/33", "x/8", "fd00::/129"] {
        assert!(bad.parse::<Cidr>().is_err(), "{bad}");
    }
}
