//! What every scene stands on: a node over a stand-in for the API, and ways to look at it.

use crate::api::Api;
use crate::tls::Credentials;
use portcullis_agent::{Config, Running};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

/// A node's surroundings: an API, a data directory, certificates.
pub struct Stage {
    pub api: Api,
    pub directory: tempfile::TempDir,
    pub credentials: Credentials,
}

impl Stage {
    pub fn new() -> Self {
        let api = Api::new();
        // There before the first pod is, as in every cluster.
        let port = json!({"name": "https", "port": 443, "protocol": "TCP"});
        let kubernetes = json!({
            "metadata": {"name": "kubernetes", "namespace": "default"},
            "spec": {"clusterIP": "10.143.0.1", "clusterIPs": ["10.143.0.1"], "ports": [port]},
        });
        api.put("/api/v1/namespaces/default/services/kubernetes", kubernetes);
        Stage {
            api,
            directory: tempfile::tempdir().unwrap(),
            credentials: Credentials::new(),
        }
    }

    pub async fn start(&self) -> Running {
        let begun = Instant::now();
        let running = portcullis_agent::start(self.config("stage")).await.unwrap();
        println!("node started in {:?}", begun.elapsed());
        running
    }

    pub fn config(&self, name: &str) -> Config {
        let mut config = Config::new(name, self.directory.path(), self.api.client());
        config.executable = std::env::current_exe().unwrap();
        config.pod_cidrs = vec!["10.142.7.0/24".parse().unwrap()];
        config.cluster_cidrs = vec!["10.142.0.0/16".parse().unwrap()];
        config.table = format!("portcullis_{name}");
        config.stop_grace = Duration::from_secs(1);
        config.kubelet_address = "127.0.0.1:0".parse().unwrap();
        config.serving = Some(self.credentials.serving());
        config
    }

    pub fn apply(&self, name: &str, spec: Value) -> String {
        let path = format!("/api/v1/namespaces/default/pods/{name}");
        let metadata = json!({"name": name, "namespace": "default", "uid": format!("uid-{name}"), "labels": {"app": name}});
        self.api.put(
            &path,
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}),
        );
        path
    }

    /// How often an Event of the node has said this about a pod.
    pub fn told(&self, pod: &str, reason: &str, message: &str) -> Option<i64> {
        let events = self.api.below("/api/v1/namespaces/default/events/");
        let event = events.into_iter().find(|event| {
            event["involvedObject"]["name"] == pod
                && event["reason"] == reason
                && event["message"] == message
        })?;
        assert_eq!(
            event["source"],
            json!({"component": "kubelet", "host": "stage"})
        );
        event["count"].as_i64()
    }

    /// As a node that was killed leaves it: the first pod's address leads to a pod of nobody's.
    pub fn leave_a_lost_link(&self) {
        for arguments in [
            "link add vethlost type veth peer name vethpeer",
            "link set vethlost up",
            "link set vethpeer up",
            "route add 10.142.7.2/32 dev vethlost scope host",
        ] {
            let made = Command::new("ip").args(arguments.split(' ')).output();
            let made = made.unwrap();
            assert!(made.status.success(), "ip {arguments}: {made:?}");
        }
    }

    /// Prints what the API holds of every pod: what somebody needs who sees only that a scene failed.
    pub fn tell(&self) {
        for pod in self.api.below("/api/v1/namespaces/default/pods/") {
            println!("{}: {}", pod["metadata"]["name"], pod["status"]);
        }
        for event in self.api.below("/api/v1/namespaces/default/events/") {
            let pod = &event["involvedObject"]["name"];
            println!(
                "{pod}: {} {} x{}",
                event["reason"], event["message"], event["count"]
            );
        }
    }

    pub fn pod(&self, path: &str) -> Value {
        self.api.get(path).unwrap_or_default()
    }
}

pub fn condition(pod: &Value, kind: &str) -> Option<String> {
    let conditions = pod["status"]["conditions"].as_array()?;
    let found = conditions
        .iter()
        .find(|condition| condition["type"] == kind)?;
    Some(found["status"].as_str()?.to_owned())
}

pub fn get(address: &str, path: &str) -> std::io::Result<String> {
    let address = address.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned())
        .unwrap_or_default())
}

pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub async fn within<T>(seconds: u64, what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(seconds), work)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"))
}
