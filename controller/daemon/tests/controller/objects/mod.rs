//! The objects of a small cluster.

use serde_json::{Value, json};

pub fn class() -> Value {
    json!({
        "kind": "IngressClass", "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": "portcullis"}, "spec": {"controller": "portcullis.dev/ingress"},
    })
}

pub fn ingress(name: &str, host: &str, service: &str) -> Value {
    let backend = json!({"service": {"name": service, "port": {"number": 80}}});
    json!({
        "kind": "Ingress", "apiVersion": "networking.k8s.io/v1",
        "metadata": {"namespace": "demo", "name": name},
        "spec": {
            "ingressClassName": "portcullis",
            "rules": [{"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}],
        },
    })
}

pub fn service(name: &str) -> Value {
    json!({
        "kind": "Service", "apiVersion": "v1",
        "metadata": {"namespace": "demo", "name": name},
        "spec": {"ports": [{"port": 80, "targetPort": 8080}]},
    })
}

pub fn slice(service: &str, addresses: &[&str]) -> Value {
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|address| json!({"addresses": [address]}))
        .collect();
    json!({
        "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
        "metadata": {
            "namespace": "demo", "name": format!("{service}-1"),
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4", "ports": [{"port": 8080}], "endpoints": endpoints,
    })
}
