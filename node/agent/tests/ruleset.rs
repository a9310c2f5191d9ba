//! The rendered ruleset in a real kernel: a router, two pods and a client, each in a network namespace of its own.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use portcullis_nft::{Here, Network, render, service_ports, wanted_ports};
use serde_json::json;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Network namespaces by role; removed with everything in them at the end.
struct Lab {
    prefix: String,
}

impl Lab {
    const ROLES: [&str; 4] = ["router", "one", "two", "client"];

    fn build() -> Self {
        let lab = Lab {
            prefix: format!("ruleset-{}", std::process::id()),
        };
        for role in Self::ROLES {
            sh(&format!(
                "ip netns add {0} && ip -n {0} link set lo up",
                lab.name(role)
            ));
        }
        lab.ip("router", "link set lo up");
        for (role, host) in [("one", 2), ("two", 3)] {
            lab.link(role);
            lab.ip("router", &format!("addr add 10.242.0.1/32 dev {role}"));
            lab.ip("router", &format!("addr add fd42::1/128 dev {role} nodad"));
            lab.ip(
                "router",
                &format!("route add 10.242.0.{host}/32 dev {role}"),
            );
            lab.ip("router", &format!("route add fd42::{host}/128 dev {role}"));
            lab.ip(role, &format!("addr add 10.242.0.{host}/32 dev eth0"));
            lab.ip(role, &format!("addr add fd42::{host}/128 dev eth0 nodad"));
            lab.ip(role, "route add 10.242.0.1 dev eth0");
            lab.ip(role, "route add default via 10.242.0.1");
            lab.ip(role, "route add fd42::1 dev eth0");
            lab.ip(role, "route add default via fd42::1");
        }
        lab.link("client");
        lab.ip("router", "addr add 172.31.9.1/24 dev client");
        lab.ip("router", "addr add fd09::1/64 dev client nodad");
        lab.ip("client", "addr add 172.31.9.2/24 dev eth0");
        lab.ip("client", "addr add fd09::2/64 dev eth0 nodad");
        lab.ip("client", "route add default via 172.31.9.1");
        lab.ip("client", "route add default via fd09::1");
        lab.ip("router", "route add default via 172.31.9.2");
        lab.ip("router", "route add default via fd09::2");
        for setting in ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"] {
            sh(&format!(
                "ip netns exec {} sysctl -qw {setting}",
                lab.name("router")
            ));
        }
        lab
    }

    fn name(&self, role: &str) -> String {
        format!("{}-{role}", self.prefix)
    }

    fn ip(&self, role: &str, arguments: &str) {
        sh(&format!("ip -n {} {arguments}", self.name(role)));
    }

    fn link(&self, role: &str) {
        let (router, other) = (self.name("router"), self.name(role));
        sh(&format!(
            "ip -n {router} link add {role} type veth peer name eth0 netns {other}"
        ));
        self.ip("router", &format!("link set {role} up"));
        self.ip(role, "link set eth0 up");
    }

    fn apply(&self, ruleset: &str) {
        let mut nft = Command::new("ip");
        nft.args(["netns", "exec", &self.name("router"), "nft", "-f", "-"])
            .stdin(Stdio::piped());
        let mut child = nft.spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(ruleset.as_bytes())
            .unwrap();
        assert!(child.wait().unwrap().success(), "{ruleset}");
    }

    /// Runs `work` on a thread of that namespace.
    fn inside<T: Send + 'static>(
        &self,
        role: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        let file = std::fs::File::open(format!("/var/run/netns/{}", self.name(role))).unwrap();
        std::thread::spawn(move || {
            nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            work()
        })
    }

    /// A server that answers `role peer` for ever.
    fn serve(&self, role: &'static str) {
        let (up, ready) = std::sync::mpsc::channel();
        self.inside(role, move || {
            let listener = TcpListener::bind("[::]:8080").unwrap();
            up.send(()).unwrap();
            for mut stream in listener.incoming().flatten() {
                let peer = stream.peer_addr().unwrap().ip().to_canonical();
                let _ = write!(stream, "{role} {peer}");
            }
        });
        ready.recv().unwrap();
    }

    /// Who answered, and the address it saw; over many connections.
    fn ask(&self, role: &str, to: &str) -> BTreeSet<(String, IpAddr)> {
        let to: SocketAddr = to.parse().unwrap();
        let asked = self.inside(role, move || (0..40).map(|_| ask(to).unwrap()).collect());
        asked
            .join()
            .unwrap_or_else(|_| panic!("{role} could not reach {to}"))
    }

    fn refusal(&self, role: &str, to: &str) -> std::io::ErrorKind {
        let to: SocketAddr = to.parse().unwrap();
        self.inside(role, move || ask(to).unwrap_err().kind())
            .join()
            .unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for role in Self::ROLES {
            let _ = Command::new("ip")
                .args(["netns", "del", &self.name(role)])
                .status();
        }
    }
}

fn ask(to: SocketAddr) -> std::io::Result<(String, IpAddr)> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (who, peer) = answer
        .split_once(' ')
        .ok_or(std::io::ErrorKind::InvalidData)?;
    Ok((who.to_owned(), peer.parse().unwrap()))
}

fn sh(command: &str) {
    let status = Command::new("sh").args(["-ec", command]).status().unwrap();
    assert!(status.success(), "{command}");
}

fn service(name: &str, host: u8, extra: serde_json::Value) -> Service {
    let (v4, v6) = (format!("10.243.0.{host}"), format!("fd43::{host}"));
    let mut spec = json!({"type": "NodePort", "clusterIP": v4, "clusterIPs": [v4, v6], "ports": [{"port": 80, "protocol": "TCP"}]});
    spec.as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    let metadata = json!({"name": name, "namespace": "default"});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

/// On the router's own addresses.
fn balanced(name: &str, host: u8, port: u16, extra: serde_json::Value) -> Service {
    let mut service = service(name, host, extra);
    let spec = service.spec.as_mut().unwrap();
    spec.type_ = Some("LoadBalancer".into());
    spec.ports.as_mut().unwrap()[0].port = port.into();
    let given = json!([{"port": port, "protocol": "TCP"}]);
    let ingress = NODE.map(|ip| json!({"ip": ip, "ipMode": "VIP", "ports": given}));
    let status = json!({"loadBalancer": {"ingress": ingress}});
    service.status = Some(serde_json::from_value(status).unwrap());
    service
}

fn services() -> Vec<Service> {
    let node_port = |port: u16| json!({"ports": [{"port": 80, "nodePort": port}]});
    let mut web = service("web", 1, node_port(30080));
    web.spec.as_mut().unwrap().external_ips = Some(EXTERNAL.map(str::to_owned).into());
    let admitted = ["10.242.0.0/16", "172.31.9.1/32", "fd42::/64", "fd09::1/128"];
    vec![
        web,
        service("sticky", 2, json!({"sessionAffinity": "ClientIP"})),
        service("empty", 3, node_port(30083)),
        balanced("lb", 4, 8081, json!({})),
        balanced(
            "guarded",
            5,
            8082,
            json!({"loadBalancerSourceRanges": admitted}),
        ),
        balanced("kept", 6, 8083, json!({"externalTrafficPolicy": "Local"})),
        balanced("absent", 7, 8084, json!({"externalTrafficPolicy": "Local"})),
        balanced("bare", 8, 8085, json!({})),
    ]
}

/// The first pod is on the router, the second, as far as the Services know, on another node; of `absent` both are.
fn slices() -> Vec<EndpointSlice> {
    let slice = |service: &str, family: &str, ips: [&str; 2]| {
        let first = if service == "absent" {
            "elsewhere"
        } else {
            "router"
        };
        let endpoint = |ip: &str, node: &str| json!({"addresses": [ip], "nodeName": node, "conditions": {"ready": true}});
        let endpoints = [endpoint(ips[0], first), endpoint(ips[1], "elsewhere")];
        let labels = json!({"kubernetes.io/service-name": service});
        let metadata = json!({"name": format!("{service}-{family}"), "namespace": "default", "labels": labels});
        serde_json::from_value(json!({"metadata": metadata, "addressType": family, "ports": [{"port": 8080}], "endpoints": endpoints})).unwrap()
    };
    let mut slices = Vec::new();
    for name in ["web", "sticky", "lb", "guarded", "kept", "absent"] {
        slices.push(slice(name, "IPv4", ["10.242.0.2", "10.242.0.3"]));
        slices.push(slice(name, "IPv6", ["fd42::2", "fd42::3"]));
    }
    slices
}

fn ruleset() -> String {
    let pods = ["10.242.0.0/16", "fd42::/64"]
        .map(|pods| pods.parse().unwrap())
        .to_vec();
    let (services, slices) = (services(), slices());
    let addresses = NODE.map(|ip| ip.parse().unwrap());
    let here = Here {
        node: "router",
        addresses: &addresses,
        held: &wanted_ports(&services, &addresses),
    };
    render(
        &Network {
            table: "portcullis".into(),
            cluster_pods: pods,
        },
        &service_ports(&services, &slices, &here),
    )
}

/// The router's addresses towards the client.
const NODE: [&str; 2] = ["172.31.9.1", "fd09::1"];
/// Routed to the router, which has them nowhere.
const EXTERNAL: [&str; 2] = ["203.0.113.7", "2001:db8:7::7"];

#[test]
fn services_work_in_a_real_kernel() {
    if !nix::unistd::geteuid().is_root() {
        return println!("skipped: network namespaces need root");
    }
    if Command::new("nft").arg("--version").output().is_err() {
        return println!("skipped: nft is not installed");
    }
    let lab = Lab::build();
    lab.apply(&ruleset());
    // A second transaction over the first: what every later change does.
    lab.apply(&ruleset());
    lab.serve("one");
    lab.serve("two");
    for family in FAMILIES {
        check_family(&lab, family);
    }
    for (index, pods) in [["10.242.0.1", "10.242.0.2"], ["fd42::1", "fd42::2"]]
        .iter()
        .enumerate()
    {
        check_load_balancers(&lab, index, *pods);
    }
    lab.serve("client");
    assert_eq!(
        lab.ask("one", "172.31.9.2:8080"),
        [("client".to_owned(), "172.31.9.1".parse().unwrap())].into(),
        "out, masqueraded"
    );
    lab.apply(&portcullis_nft::removal("portcullis"));
    assert_ne!(
        lab.refusal("client", "10.243.0.1:80"),
        std::io::ErrorKind::ConnectionRefused
    );
}

/// Per family: the Services web, sticky and empty, web's node port, the gateway, the first pod, empty's node port.
const FAMILIES: [[&str; 7]; 2] = [
    [
        "10.243.0.1:80",
        "10.243.0.2:80",
        "10.243.0.3:80",
        "172.31.9.1:30080",
        "10.242.0.1",
        "10.242.0.2",
        "172.31.9.1:30083",
    ],
    [
        "[fd43::1]:80",
        "[fd43::2]:80",
        "[fd43::3]:80",
        "[fd09::1]:30080",
        "fd42::1",
        "fd42::2",
        "[fd09::1]:30083",
    ],
];

fn check_family(
    lab: &Lab,
    [web, sticky, empty, node_port, gateway, own, empty_node_port]: [&'static str; 7],
) {
    let gateway: IpAddr = gateway.parse().unwrap();
    let both = |peer: IpAddr| -> BTreeSet<_> {
        [("one".to_owned(), peer), ("two".to_owned(), peer)].into()
    };
    assert_eq!(
        lab.ask("client", web),
        both(gateway),
        "from outside, masqueraded"
    );
    assert_eq!(lab.ask("client", node_port), both(gateway), "by node port");
    let from_host: BTreeSet<_> = lab
        .ask("router", web)
        .into_iter()
        .map(|(who, _)| who)
        .collect();
    assert_eq!(
        from_host,
        ["one".to_owned(), "two".to_owned()].into(),
        "from the host itself"
    );
    let own: IpAddr = own.parse().unwrap();
    let expected = [("one".to_owned(), gateway), ("two".to_owned(), own)].into();
    assert_eq!(
        lab.ask("one", web),
        expected,
        "a pod keeps its address, except towards itself"
    );
    assert_eq!(
        lab.ask("client", sticky).len(),
        1,
        "one client, one endpoint"
    );
    for role in ["client", "one", "router"] {
        assert_eq!(
            lab.refusal(role, empty),
            std::io::ErrorKind::ConnectionRefused,
            "{role} to {empty}"
        );
    }
    assert_eq!(
        lab.refusal("client", empty_node_port),
        std::io::ErrorKind::ConnectionRefused
    );
}

/// By the router's own addresses: from outside, from a pod, from the router itself.
fn check_load_balancers(lab: &Lab, family: usize, [gateway, own]: [&str; 2]) {
    let at = |ip: &str, port: u16| SocketAddr::new(ip.parse().unwrap(), port).to_string();
    let node = |port: u16| at(NODE[family], port);
    let (gateway, own): (IpAddr, IpAddr) = (gateway.parse().unwrap(), own.parse().unwrap());
    let client: IpAddr = ["172.31.9.2", "fd09::2"][family].parse().unwrap();
    let both = |peer: IpAddr| BTreeSet::from([("one".to_owned(), peer), ("two".to_owned(), peer)]);
    let who = |role: &str, to: &str| -> BTreeSet<String> {
        lab.ask(role, to).into_iter().map(|(who, _)| who).collect()
    };
    let everybody = BTreeSet::from(["one".to_owned(), "two".to_owned()]);
    let timed_out = |role: &str, port: u16| {
        let kind = lab.refusal(role, &node(port));
        assert_eq!(
            kind,
            std::io::ErrorKind::TimedOut,
            "{role} to {}",
            node(port)
        );
    };
    assert_eq!(
        lab.ask("client", &node(8081)),
        both(gateway),
        "from outside, masqueraded"
    );
    assert_eq!(
        lab.ask("client", &at(EXTERNAL[family], 80)),
        both(gateway),
        "by external address"
    );
    assert_eq!(
        lab.ask("one", &node(8081)),
        both(gateway),
        "a pod comes back by it, even to itself"
    );
    assert_eq!(who("router", &node(8081)), everybody, "the router itself");
    timed_out("client", 8082);
    assert_eq!(who("one", &node(8082)), everybody, "an admitted pod");
    assert_eq!(who("router", &node(8082)), everybody, "the admitted router");
    let kept = BTreeSet::from([("one".to_owned(), client)]);
    assert_eq!(
        lab.ask("client", &node(8083)),
        kept,
        "the client's address, the node's own pod"
    );
    let from_pod = BTreeSet::from([("one".to_owned(), gateway), ("two".to_owned(), own)]);
    assert_eq!(
        lab.ask("one", &node(8083)),
        from_pod,
        "a pod reaches every endpoint"
    );
    assert_eq!(who("router", &node(8083)), everybody, "so does the router");
    timed_out("client", 8084);
    assert_eq!(
        who("two", &node(8084)),
        everybody,
        "what outside is dropped works inside"
    );
    for role in ["client", "one", "router"] {
        let kind = lab.refusal(role, &node(8085));
        assert_eq!(
            kind,
            std::io::ErrorKind::ConnectionRefused,
            "{role} without endpoints"
        );
    }
}
