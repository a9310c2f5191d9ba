//! With a thousand Ingresses one change costs what it touches, and leaves every other unit as it was.

use std::sync::Arc;

use serde_json::json;

use super::objects::put;
use crate::{Settings, Translation, Translator};

const COUNT: usize = 1000;

#[test]
fn an_endpoint_change_replaces_one_backend_and_nothing_else() {
    let mut translator = loaded();
    let before = translator.translate();
    translator.apply(put(slice(7, "10.9.9.9")));
    let after = translator.translate();

    assert_eq!(replaced(&before, &after), (0, 1));
    assert_eq!(before.specs.hosts.len(), COUNT + 1);
}

#[test]
fn an_ingress_change_replaces_its_hosts_and_nothing_else() {
    let mut translator = loaded();
    let before = translator.translate();
    translator.apply(put(ingress(7, "/other")));
    let after = translator.translate();

    assert_eq!(replaced(&before, &after), (1, 0));
}

#[test]
fn a_change_that_means_nothing_publishes_nothing() {
    let mut translator = loaded();
    let before = translator.translate();
    let mut same = ingress(7, "/");
    same["metadata"]["resourceVersion"] = json!("12345");
    same["metadata"]["managedFields"] = json!([{"manager": "kubectl"}]);
    same["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
    translator.apply(put(same));

    assert!(Arc::ptr_eq(&before.specs, &translator.translate().specs));
}

/// Hosts and backends that are not the same allocation as before.
fn replaced(before: &Translation, after: &Translation) -> (usize, usize) {
    let hosts = before.specs.hosts.iter().zip(&after.specs.hosts);
    let backends = before.specs.backends.iter().zip(&after.specs.backends);
    (
        hosts.filter(|(old, new)| !Arc::ptr_eq(old, new)).count(),
        backends.filter(|(old, new)| !Arc::ptr_eq(old, new)).count(),
    )
}

fn loaded() -> Translator {
    let mut translator = Translator::new(Settings::default());
    translator.apply(put(json!({
        "kind": "IngressClass", "metadata": {"name": "portcullis"},
        "spec": {"controller": "portcullis.dev/ingress"},
    })));
    for n in 0..COUNT {
        translator.apply(put(ingress(n, "/")));
        translator.apply(put(json!({
            "kind": "Service", "metadata": {"namespace": "demo", "name": format!("s{n}")},
            "spec": {"ports": [{"port": 80, "targetPort": 8080}]},
        })));
        translator.apply(put(slice(n, "10.0.0.1")));
    }
    translator
}

fn ingress(n: usize, path: &str) -> serde_json::Value {
    let backend = json!({"service": {"name": format!("s{n}"), "port": {"number": 80}}});
    json!({
        "kind": "Ingress",
        "metadata": {"namespace": "demo", "name": format!("i{n}"), "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "ingressClassName": "portcullis",
            "rules": [{
                "host": format!("h{n}.example.com"),
                "http": {"paths": [{"path": path, "pathType": "Prefix", "backend": backend}]},
            }],
        },
    })
}

fn slice(n: usize, address: &str) -> serde_json::Value {
    json!({
        "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "namespace": "demo", "name": format!("e{n}"),
            "labels": {"kubernetes.io/service-name": format!("s{n}")},
        },
        "ports": [{"port": 8080}], "endpoints": [{"addresses": [address]}],
    })
}
