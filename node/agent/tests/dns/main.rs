//! The DNS server, asked by a real client, with stand-ins for the API and for other resolvers.

mod api;
mod client;
mod forwarding;
mod resolver;
mod serving;

use api::Api;
use portcullis_agent::dns::{Config, Running, start};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;

/// One server and what is around it.
struct Stage {
    api: Api,
    running: Running,
    server: SocketAddr,
    /// Holds what the server reads.
    _directory: tempfile::TempDir,
}

impl Stage {
    /// Its API says nothing yet; its resolvers are these.
    fn build(resolvers: &[SocketAddr]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let api = Api::new();
        let listed = resolvers
            .iter()
            .map(|server| format!("nameserver {server}\n"));
        let resolv_conf = directory.path().join("resolv.conf");
        std::fs::write(&resolv_conf, listed.collect::<String>()).unwrap();
        let running = start(config(&api, resolv_conf)).unwrap();
        let server = running.addresses()[0];
        Stage {
            api,
            running,
            server,
            _directory: directory,
        }
    }

    async fn ready(resolvers: &[SocketAddr]) -> Self {
        let stage = Stage::build(resolvers);
        for object in [("namespaces", namespace("shop")), ("services", web())] {
            stage.api.put(object.0, object.1);
        }
        stage.api.open();
        stage.running.ready().await;
        stage
    }
}

fn config(api: &Api, resolv_conf: PathBuf) -> Config {
    Config {
        client: api.client(),
        domain: "cluster.local".to_owned(),
        ranges: vec!["10.43.0.0/16".parse().unwrap()],
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        listen_ahead: false,
        resolv_conf,
        service_ips: vec!["10.43.0.10".parse().unwrap()],
    }
}

fn namespace(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

fn web() -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "clusterIP": "10.43.0.7", "clusterIPs": ["10.43.0.7"],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        },
    })
}

fn external(name: &str, target: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"type": "ExternalName", "externalName": target},
    })
}
