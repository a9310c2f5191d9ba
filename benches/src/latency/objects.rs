//! The objects that the latency bench makes.

use std::net::SocketAddr;

use k8s_openapi::api::{
    core::v1::{Namespace, Service},
    discovery::v1::EndpointSlice,
    networking::v1::Ingress,
};
use serde_json::{Result, from_value, json};

pub const NAMESPACE: &str = "portcullis-bench";

pub fn namespace() -> Result<Namespace> {
    from_value(json!({ "metadata": { "name": NAMESPACE } }))
}

/// Without a selector: its endpoints are the bench's own business.
pub fn service(name: &str) -> Result<Service> {
    from_value(json!({
        "metadata": { "name": name },
        "spec": { "ports": [{ "name": "http", "port": 80 }] },
    }))
}

/// Named as its service.
pub fn slice(service: &str, endpoint: SocketAddr) -> Result<EndpointSlice> {
    from_value(json!({
        "metadata": { "name": service, "labels": { "kubernetes.io/service-name": service } },
        "addressType": if endpoint.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{ "addresses": [endpoint.ip().to_string()], "conditions": { "ready": true } }],
        "ports": [{ "name": "http", "port": endpoint.port(), "protocol": "TCP" }],
    }))
}

pub fn ingress(name: &str, host: &str, service: &str, class: &str) -> Result<Ingress> {
    let backend = json!({ "service": { "name": service, "port": { "number": 80 } } });
    from_value(json!({
        "metadata": { "name": name },
        "spec": {
            "ingressClassName": class,
            "rules": [{ "host": host, "http": { "paths": [{ "path": "/", "pathType": "Prefix", "backend": backend }] } }],
        },
    }))
}
