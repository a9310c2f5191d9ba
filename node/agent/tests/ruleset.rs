//! The rendered ruleset in a real kernel: a router, two pods and a client, each in a network namespace of its own.

use portcullis_nft::{Network, render, service_ports};
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

fn ruleset() -> String {
    let service = |name: &str, v4: &str, v6: &str, extra: serde_json::Value| {
        let mut spec = json!({"type": "NodePort", "clusterIP": v4, "clusterIPs": [v4, v6], "ports": [{"port": 80, "protocol": "TCP"}]});
        spec.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        serde_json::from_value(
            json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec}),
        )
        .unwrap()
    };
    let services: Vec<_> = vec![
        service(
            "web",
            "10.243.0.1",
            "fd43::1",
            json!({"ports": [{"port": 80, "nodePort": 30080}]}),
        ),
        service(
            "sticky",
            "10.243.0.2",
            "fd43::2",
            json!({"sessionAffinity": "ClientIP"}),
        ),
        service(
            "empty",
            "10.243.0.3",
            "fd43::3",
            json!({"ports": [{"port": 80, "nodePort": 30083}]}),
        ),
    ];
    let slice = |service: &str, family: &str, ips: [&str; 2]| {
        let endpoints = ips.map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}}));
        let labels = json!({"kubernetes.io/service-name": service});
        let metadata = json!({"name": format!("{service}-{family}"), "namespace": "default", "labels": labels});
        serde_json::from_value(json!({"metadata": metadata, "addressType": family, "ports": [{"port": 8080}], "endpoints": endpoints})).unwrap()
    };
    let mut slices = Vec::new();
    for name in ["web", "sticky"] {
        slices.push(slice(name, "IPv4", ["10.242.0.2", "10.242.0.3"]));
        slices.push(slice(name, "IPv6", ["fd42::2", "fd42::3"]));
    }
    let pods = ["10.242.0.0/16", "fd42::/64"]
        .map(|pods| pods.parse().unwrap())
        .to_vec();
    render(
        &Network {
            table: "portcullis".into(),
            cluster_pods: pods,
        },
        &service_ports(&services, &slices, "router"),
    )
}

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
