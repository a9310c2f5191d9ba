//! Names as pods see them: asked by dig from a pod's network, with a resolver of this test's own behind.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::net::UdpSocket;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use portcullis_conformance::{
    Alone, Cluster, ClusterOptions, Kubectl, Suite, eventually_some, run_with_deadline, scenarios,
};

fn main() -> ExitCode {
    Suite::alone("dns", SCENARIOS)
}

const SCENARIOS: &[Alone] = scenarios![names_resolve_from_a_pod];

fn names_resolve_from_a_pod() {
    let directory = tempfile::tempdir().unwrap();
    let resolv_conf = directory.path().join("resolv.conf");
    fs::write(&resolv_conf, format!("nameserver {}\n", resolver())).unwrap();
    let mut option = OsString::from("--resolv-conf=");
    option.push(&resolv_conf);
    let options = ClusterOptions {
        node: true,
        demo: false,
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start_with(&options, &[option]);
    let kubectl = cluster.kubectl().in_new_namespace("names");
    kubectl.apply(APPLICATION).ok();
    let wait = [
        "wait",
        "--for=condition=Ready",
        "pod",
        "--all",
        "--timeout=60s",
    ];
    kubectl.run(&wait).ok();
    let pods = Pods::of(&kubectl);
    let pod = Pod::find(&cluster, &pods.ips[0]).expect("a process of the pod");
    the_pod_is_told_whom_to_ask(&pod);
    a_service_has_names(&pod, &kubectl);
    endpoints_have_names(&pod, &pods);
    other_names_are_asked_elsewhere(&pod);
    what_is_not_there_is_denied(&pod, &kubectl);
    names_are_back_after_a_restart(cluster.restart(&options));
}

fn the_pod_is_told_whom_to_ask(pod: &Pod) {
    let resolv_conf = pod.file("etc/resolv.conf");
    for line in [
        "nameserver 10.43.0.10\n",
        "search names.svc.cluster.local svc.cluster.local cluster.local",
        "options ndots:5",
    ] {
        assert!(resolv_conf.contains(line), "{resolv_conf}");
    }
}

fn a_service_has_names(pod: &Pod, kubectl: &Kubectl) {
    let service = kubectl.get_json(&["service", "web"]);
    let ip = service["spec"]["clusterIP"].as_str().unwrap();
    for transport in ["+notcp", "+tcp"] {
        assert_eq!(pod.dig(&[transport, "web.names.svc.cluster.local"]), [ip]);
    }
    let short = ["+search", "+domain=names.svc.cluster.local", "web"];
    assert_eq!(pod.dig(&short), [ip]);
    assert_eq!(pod.dig(&["-x", ip]), ["web.names.svc.cluster.local."]);
    let srv = pod.dig(&["SRV", "_http._tcp.web.names.svc.cluster.local"]);
    assert_eq!(srv, ["0 100 80 web.names.svc.cluster.local."]);
    let api = pod.dig(&["kubernetes.default.svc.cluster.local"]);
    assert_eq!(api, ["10.43.0.1"]);
}

fn endpoints_have_names(pod: &Pod, pods: &Pods) {
    // The watch of the slices may be a moment behind the pods' readiness.
    let all = eventually_some(CHANGE, || {
        let all = pod.dig(&["peers.names.svc.cluster.local"]);
        match all.len() {
            2 => Ok(all.into_iter().collect::<BTreeSet<_>>()),
            _ => Err(format!("{all:?}")),
        }
    });
    assert_eq!(all, pods.ips.iter().cloned().collect());
    let (one, two) = (pods.ip_of("one"), pods.ip_of("two"));
    let own = pod.dig(&["one.peers.names.svc.cluster.local"]);
    assert_eq!(own, [one.as_str()]);
    let srv = pod.dig(&["SRV", "_echo._tcp.peers.names.svc.cluster.local"]);
    assert_eq!(srv.len(), 2, "{srv:?}");
    let names = pod.dig(&["-x", &one]);
    let hostname = "one.peers.names.svc.cluster.local.".to_owned();
    assert!(names.contains(&hostname), "{names:?}");
    let dashed = format!("{}.names.pod.cluster.local", two.replace('.', "-"));
    assert_eq!(pod.dig(&[&dashed]), [two.as_str()]);
}

fn other_names_are_asked_elsewhere(pod: &Pod) {
    assert_eq!(pod.dig(&["www.example.test"]), ["192.0.2.80"]);
    let external = pod.dig(&["outside.names.svc.cluster.local"]);
    assert_eq!(external, ["www.example.test.", "192.0.2.80"]);
}

fn what_is_not_there_is_denied(pod: &Pod, kubectl: &Kubectl) {
    let nobody = pod.status(&["nobody.names.svc.cluster.local"]);
    assert_eq!(nobody, "NXDOMAIN");
    let without_v6 = pod.status(&["AAAA", "web.names.svc.cluster.local"]);
    assert_eq!(without_v6, "NOERROR");
    assert_eq!(pod.status(&["-x", "10.43.255.1"]), "NXDOMAIN");
    kubectl.run(&["delete", "service", "web"]).ok();
    eventually_some(CHANGE, || {
        match pod.status(&["web.names.svc.cluster.local"]) {
            gone if gone == "NXDOMAIN" => Ok(()),
            other => Err(other),
        }
    });
}

fn names_are_back_after_a_restart(mut cluster: Cluster) {
    let kubectl = cluster.kubectl().within("names");
    eventually_some(RESTART, || {
        let ip = Pods::of(&kubectl).ip_of("one");
        let pod = Pod::find(&cluster, &ip).ok_or("no process of the pod")?;
        match pod.dig(&["one.peers.names.svc.cluster.local"]) {
            found if found == [ip] => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let stopped = cluster.stop();
    assert_eq!(stopped.code, Some(0), "{}", cluster.logs());
}

/// Addresses of the application's pods.
struct Pods {
    names: Vec<String>,
    ips: Vec<String>,
}

impl Pods {
    fn of(kubectl: &Kubectl) -> Self {
        let list = kubectl.get_json(&["pods"]);
        let items = list["items"].as_array().unwrap();
        let text = |pointer: &str| {
            let values = items.iter().map(|item| item.pointer(pointer).unwrap());
            values
                .map(|value| value.as_str().unwrap().to_owned())
                .collect()
        };
        Pods {
            names: text("/metadata/name"),
            ips: text("/status/podIP"),
        }
    }

    fn ip_of(&self, name: &str) -> String {
        let place = self.names.iter().position(|one| one == name);
        self.ips[place.unwrap()].clone()
    }
}

/// A pod, by one of its processes.
struct Pod(u32);

impl Pod {
    /// The process of a container of this cluster, and no other's on this machine, whose network has the address.
    fn find(cluster: &Cluster, ip: &str) -> Option<Self> {
        let data = cluster.data_dir().display().to_string();
        let processes = fs::read_dir("/proc").unwrap();
        let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let mut pods = ids.filter(|id: &u32| {
            let read =
                |file: &str| fs::read_to_string(format!("/proc/{id}/{file}")).unwrap_or_default();
            let is_ours = read("cmdline").contains("echo") && read("mountinfo").contains(&data);
            is_ours && enter(*id, &["ip", "-oneline", "addr", "show"]).contains(&format!(" {ip}/"))
        });
        pods.next().map(Pod)
    }

    fn file(&self, path: &str) -> String {
        fs::read_to_string(format!("/proc/{}/root/{path}", self.0)).unwrap()
    }

    /// The lines of a short answer.
    fn dig(&self, question: &[&str]) -> Vec<String> {
        let answer = enter(self.0, &[&DIG[..], &["+short"], question].concat());
        answer.lines().map(str::to_owned).collect()
    }

    /// Such as NOERROR.
    fn status(&self, question: &[&str]) -> String {
        let answer = enter(self.0, &[&DIG[..], question].concat());
        let status = answer.split("status: ").nth(1);
        status
            .and_then(|rest| rest.split(',').next())
            .unwrap_or(&answer)
            .to_owned()
    }
}

/// Runs a program of this machine in the network of a process.
fn enter(pid: u32, command: &[&str]) -> String {
    let mut nsenter = Command::new("nsenter");
    nsenter
        .args(["--net", "--target", &pid.to_string(), "--"])
        .args(command);
    run_with_deadline(&mut nsenter, "", Duration::from_secs(20)).ok()
}

/// A resolver that says one address for every question of class A, and nothing to all others; returns its own.
fn resolver() -> std::net::SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let question = &buffer[..length];
            let name_end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap();
            let is_a = question[name_end + 1..name_end + 3] == [0, 1];
            let mut answer = question[..name_end + 5].to_vec();
            answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
            if is_a {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 80]);
            }
            let _ = socket.send_to(&answer, peer);
        }
    });
    address
}

const APPLICATION: &str = "
apiVersion: v1
kind: Pod
metadata: {name: one, labels: {app: names}}
spec:
  hostname: one
  subdomain: peers
  containers:
  - name: echo
    image: portcullis.dev/echo:1
    imagePullPolicy: IfNotPresent
    ports: [{name: http, containerPort: 8080}]
    readinessProbe: {httpGet: {path: /readyz, port: http}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: two, labels: {app: names}}
spec:
  containers:
  - name: echo
    image: portcullis.dev/echo:1
    imagePullPolicy: IfNotPresent
    ports: [{name: http, containerPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: names}, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: peers}
spec: {clusterIP: None, selector: {app: names}, ports: [{name: echo, port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: outside}
spec: {type: ExternalName, externalName: www.example.test}
";
const DIG: [&str; 4] = ["dig", "@10.43.0.10", "+time=5", "+tries=1"];
/// What is promised for every change.
const CHANGE: Duration = Duration::from_secs(5);
/// For pods to be there again.
const RESTART: Duration = Duration::from_secs(60);
