//! Controllers and scheduler, whole, against a small API server in memory.

mod balancers;
mod fake;
mod lifecycle;
mod workloads;

use fake::Fake;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{Clients, Config, run_all};

/// Everything running over a fake with one namespace and one node.
struct World {
    fake: Fake,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

impl World {
    fn start() -> Self {
        let fake = Fake::default();
        fake.create(json!({"kind": "Namespace", "metadata": {"name": "shop"}, "spec": {"finalizers": ["kubernetes"]}}));
        fake.create(node("one", "10"));
        let shutdown = CancellationToken::new();
        let config = Config {
            ca_pem: "the ca".to_owned(),
        };
        let running = tokio::spawn(run_all(
            Clients {
                manager: fake.client(),
                scheduler: fake.client(),
            },
            config,
            shutdown.clone(),
        ));
        Self {
            fake,
            shutdown,
            running,
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        let stopped = tokio::time::timeout(std::time::Duration::from_secs(10), self.running).await;
        stopped
            .expect("everything stops")
            .expect("nothing panicked");
    }
}

fn node(name: &str, cpu: &str) -> Value {
    json!({
        "kind": "Node",
        "metadata": {"name": name},
        "status": {
            "allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}

fn deployment(replicas: i32) -> Value {
    json!({
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "replicas": replicas,
            "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "web:1", "ports": [{"name": "http", "containerPort": 8080}]}]},
            },
        },
    })
}

fn service() -> Value {
    json!({
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "selector": {"app": "web"},
            "ipFamilies": ["IPv4"],
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
        },
    })
}

fn name(object: &Value) -> String {
    object["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn is_going(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// Does a kubelet's part for every bound pod that does not run yet.
fn run_bound_pods(fake: &Fake) {
    for pod in fake.list("pods") {
        if pod["spec"]["nodeName"].is_string()
            && pod["status"]["phase"] == "Pending"
            && !is_going(&pod)
        {
            let serial: u32 = pod["metadata"]["uid"].as_str().unwrap_or_default()[4..]
                .parse()
                .expect("a serial");
            fake.edit("pods", "shop", &name(&pod), |pod| {
                pod["status"] = json!({
                    "phase": "Running",
                    "podIP": format!("10.42.{}.{}", serial / 250, serial % 250),
                    "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                });
            });
        }
    }
}

/// Does a kubelet's part for every pod that was told to stop.
fn stop_going_pods(fake: &Fake) {
    for pod in fake.list("pods").into_iter().filter(is_going) {
        fake.vanish("pods", "shop", &name(&pod));
    }
}

fn endpoints(fake: &Fake) -> Vec<Value> {
    let slices = fake.list("endpointslices");
    slices
        .iter()
        .flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default())
        .collect()
}

fn ready_endpoints(fake: &Fake) -> usize {
    endpoints(fake)
        .iter()
        .filter(|endpoint| endpoint["conditions"]["ready"] == true)
        .count()
}
