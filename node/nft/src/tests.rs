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
    pods: Vec<String>,
    services: Vec<Service>,
    endpoint_slices: Vec<EndpointSlice>,
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
    let ports = service_ports(&case.services, &case.endpoint_slices, &case.node);
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

fn ports() -> impl Strategy<Value = ServicePort> {
    let endpoints = || vec((1..6u8, 80..82u16), 0..4);
    let node_port = prop::option::of(30000..30003u16);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (
        flags,
        1..5u8,
        protocols(),
        80..83u16,
        node_port,
        endpoints(),
        endpoints(),
    )
        .prop_map(
            |((v6, sticky, keeps_source), host, protocol, port, node_port, inside, outside)| {
                let all = |list: Vec<(u8, u16)>| -> Vec<SocketAddr> {
                    let set: BTreeSet<_> = list
                        .into_iter()
                        .map(|(host, port)| SocketAddr::new(pod_ip(v6, host), port))
                        .collect();
                    set.into_iter().collect()
                };
                ServicePort {
                    namespace: "default".into(),
                    name: format!("s{host}"),
                    ip: cluster_ip(v6, host),
                    protocol,
                    port,
                    node_port,
                    sticky,
                    endpoints: all(inside),
                    external_endpoints: all(outside),
                    keeps_source,
                }
            },
        )
}

fn packets() -> impl Strategy<Value = Packet> {
    let places = prop_oneof![Just(Place::Arriving), Just(Place::Host)];
    (
        any::<bool>(),
        0..6u8,
        0..8u8,
        protocols(),
        prop_oneof![80..83u16, 30000..30003u16],
        places,
    )
        .prop_map(|(v6, from, to, protocol, port, place)| {
            let outside: IpAddr = if v6 {
                "2001:db8::9".parse().unwrap()
            } else {
                "198.51.100.9".parse().unwrap()
            };
            let loopback: IpAddr = if v6 {
                "::1".parse().unwrap()
            } else {
                "127.0.0.1".parse().unwrap()
            };
            let from = match (place, from) {
                (Place::Host, _) => node_ip(v6),
                (Place::Arriving, 0) => outside,
                (Place::Arriving, host) => pod_ip(v6, host),
            };
            let to = match to {
                0 => node_ip(v6),
                5 => loopback,
                6 => outside,
                7 => pod_ip(v6, 1),
                host => cluster_ip(v6, host),
            };
            Packet {
                from,
                to,
                protocol,
                port,
                place,
                to_this_node: [node_ip(v6), loopback].contains(&to),
            }
        })
}

/// What Services mean, said without tables: the first that claims the address has it.
fn twin(ports: &[ServicePort], packet: &Packet) -> Vec<Fate> {
    let same = |port: &&ServicePort| {
        port.protocol == packet.protocol && port.ip.is_ipv6() == packet.to.is_ipv6()
    };
    let inside = ports
        .iter()
        .filter(same)
        .find(|port| port.ip == packet.to && port.port == packet.port);
    let outside = ports
        .iter()
        .filter(same)
        .filter(|port| first_claim(ports, port));
    let outside = || {
        outside
            .clone()
            .find(|port| port.node_port == Some(packet.port))
    };
    let on_node = packet.to_this_node && !packet.to.is_loopback();
    let from_pod = network()
        .cluster_pods
        .iter()
        .any(|pods| pods.contains(packet.from));
    let (endpoints, masked) = match (inside, on_node.then(outside).flatten()) {
        (Some(port), _) => (&port.endpoints, !from_pod),
        (None, Some(port)) => (&port.external_endpoints, !port.keeps_source),
        (None, None) => {
            let to_pod = network()
                .cluster_pods
                .iter()
                .any(|pods| pods.contains(packet.to));
            // Straight to a pod, even itself, keeps its source; only what leaves the cluster is masked.
            let itself = packet.from == packet.to && all_endpoints(ports).contains(&packet.to);
            let masked = (from_pod && !to_pod && !packet.to_this_node) || itself;
            return vec![Fate::Passed { masked }];
        }
    };
    if endpoints.is_empty() {
        return vec![Fate::Refused];
    }
    let fate = |to: &SocketAddr| Fate::Sent {
        to: *to,
        masked: masked || to.ip() == packet.from,
    };
    endpoints.iter().map(fate).collect()
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
        .flat_map(|port| port.endpoints.iter().chain(&port.external_endpoints))
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
