//! The incremental engine against its naive twin: after any events, in any order, both say the same.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::objects::{object, put};
use crate::{
    Address, Change, Kind, Object, ObjectKey, ObjectRef, Settings, Snapshot, Translator, translate,
};

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn incremental_translation_equals_translation_from_nothing(steps in prop::collection::vec(step(), 1..60)) {
        let settings = settings();
        let mut translator = Translator::new(settings.clone());
        let mut snapshot = Snapshot::default();
        for (Step(change), now) in steps {
            translator.apply(change.clone());
            snapshot.apply(change);
            if !now {
                continue;
            }
            let incremental = translator.translate();
            let naive = translate(&snapshot, &settings);
            prop_assert_eq!(&incremental.specs, &naive.specs);
            prop_assert_eq!(&incremental.statuses, &naive.statuses);
            prop_assert_eq!(&incremental.notices, &naive.notices);
            prop_assert_eq!(&incremental.ours, &naive.ours);
            let again = translator.translate();
            prop_assert!(std::sync::Arc::ptr_eq(&incremental.specs, &again.specs));
        }
    }
}

/// A change, and whether a translation follows it.
fn step() -> impl Strategy<Value = (Step, bool)> {
    let change = prop_oneof![
        6 => ingress().prop_map(|value| Step(put(value))),
        2 => service().prop_map(|value| Step(put(value))),
        4 => slice().prop_map(|value| Step(put(value))),
        2 => secret().prop_map(|value| Step(put(value))),
        2 => class().prop_map(|value| Step(put(value))),
        4 => deletion().prop_map(|reference| Step(Change::Delete(reference))),
        1 => prop::collection::vec(ingress(), 0..3).prop_map(|all| relist(Kind::Ingress, all)),
        1 => Just(Step(Change::Hidden(Kind::IngressClass))),
        1 => prop::collection::vec(class(), 0..2).prop_map(|all| relist(Kind::IngressClass, all)),
        1 => prop::collection::vec(slice(), 0..3).prop_map(|all| relist(Kind::EndpointSlice, all)),
    ];
    (change, prop::bool::weighted(0.7))
}

/// A change may hold a Secret, so it has no `Debug`; a failing sequence is shown by its kinds and names.
#[derive(Clone)]
struct Step(Change);

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Change::Put(Object::Ingress(ingress)) => write!(f, "{ingress:?}"),
            Change::Put(object) => write!(f, "put {:?} {}", object.kind(), object.key()),
            Change::Delete(reference) => write!(f, "delete {reference:?}"),
            Change::Relist { kind, objects, .. } => write!(f, "relist {kind:?} {}", objects.len()),
            Change::Hidden(kind) => write!(f, "hidden {kind:?}"),
        }
    }
}

fn relist(kind: Kind, objects: Vec<Value>) -> Step {
    Step(Change::Relist {
        kind,
        namespace: Some("demo".to_owned()),
        objects: objects.into_iter().map(object).collect(),
    })
}

fn settings() -> Settings {
    Settings {
        default_backend: ObjectKey::parse("demo/s0"),
        default_certificate: ObjectKey::parse("demo/t1"),
        publish_addresses: vec![Address::parse("192.0.2.1")],
        ..Settings::default()
    }
}

fn ingress() -> impl Strategy<Value = Value> {
    let paths = prop::collection::vec((host(), path(), backend()), 0..4);
    let tls = prop::option::of((host(), prop::option::of(0..3u8)));
    let class = prop_oneof![
        4 => Just(Some("portcullis")),
        1 => Just(Some("other")),
        1 => Just(Some("missing")),
        1 => Just(None),
    ];
    let annotation = prop_oneof![
        6 => Just(json!({})),
        1 => Just(json!({"nginx.ingress.kubernetes.io/limit-rps": "ten"})),
        1 => Just(json!({"nginx.ingress.kubernetes.io/auth-type": "basic"})),
        1 => Just(json!({"nginx.ingress.kubernetes.io/ssl-redirect": "false"})),
        1 => Just(json!({"kubernetes.io/ingress.class": "portcullis"})),
    ];
    let default = prop::option::weighted(0.3, backend());
    let time = 0..3u8;
    let status = any::<bool>();
    let name = 0..5u8;
    (name, time, class, annotation, paths, tls, default, status).prop_map(
        |(name, time, class, annotations, paths, tls, default, status)| {
            let rules: Vec<Value> = paths
                .into_iter()
                .map(|(host, (kind, path), backend)| {
                    let path = json!({"path": path, "pathType": kind, "backend": backend});
                    json!({"host": host, "http": {"paths": [path]}})
                })
                .collect();
            let tls: Vec<Value> = tls
                .into_iter()
                .map(|(host, secret)| {
                    json!({"hosts": [host], "secretName": secret.map(|n| format!("t{n}"))})
                })
                .collect();
            json!({
                "kind": "Ingress",
                "metadata": {
                    "namespace": "demo", "name": format!("i{name}"), "annotations": annotations,
                    "creationTimestamp": format!("2026-01-01T00:00:0{time}Z"),
                },
                "spec": {"ingressClassName": class, "rules": rules, "tls": tls, "defaultBackend": default},
                "status": {"loadBalancer": {"ingress": status.then(|| json!([{"ip": "192.0.2.1"}]))}},
            })
        },
    )
}

fn host() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a.test", "b.test", "*.test", ""])
}

fn path() -> impl Strategy<Value = (&'static str, &'static str)> {
    let kind = prop::sample::select(vec!["Exact", "Prefix", "ImplementationSpecific"]);
    (kind, prop::sample::select(vec!["/", "/x", "/x/", "/y"]))
}

fn backend() -> impl Strategy<Value = Value> {
    let port = prop_oneof![
        Just(json!({"number": 80})),
        Just(json!({"number": 81})),
        Just(json!({"name": "http"}))
    ];
    (0..3u8, port).prop_map(|(n, port)| json!({"service": {"name": format!("s{n}"), "port": port}}))
}

fn service() -> impl Strategy<Value = Value> {
    let kind = prop::sample::select(vec!["ClusterIP", "ClusterIP", "ClusterIP", "ExternalName"]);
    (0..3u8, 80..82u16, kind).prop_map(|(n, port, kind)| {
        json!({
            "kind": "Service", "metadata": {"namespace": "demo", "name": format!("s{n}")},
            "spec": {"type": kind, "ports": [{"name": "http", "port": port, "targetPort": 8080}]},
        })
    })
}

fn slice() -> impl Strategy<Value = Value> {
    let endpoint = (1..5u8, any::<bool>(), any::<bool>()).prop_map(|(n, ready, terminating)| {
        json!({
            "addresses": [format!("10.0.0.{n}")], "targetRef": {"uid": format!("pod-{n}")},
            "conditions": {"ready": ready, "serving": true, "terminating": terminating},
        })
    });
    let endpoints = prop::collection::vec(endpoint, 0..4);
    (0..4u8, 0..3u8, endpoints).prop_map(|(n, service, endpoints)| {
        json!({
            "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "namespace": "demo", "name": format!("e{n}"),
                "labels": {"kubernetes.io/service-name": format!("s{service}")},
            },
            "ports": [{"name": "http", "port": 8080}], "endpoints": endpoints,
        })
    })
}

/// Secrets are made once: the same name may come with another content.
static SECRETS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let contents = [
        vec!["a.test"],
        vec!["*.test", "b.test"],
        vec!["elsewhere.test"],
    ];
    let contents = contents.iter().map(|names| {
        let made = object(json!({"kind": "Secret", "metadata": {}, "certificateFor": names}));
        match made {
            Object::Secret(secret) => serde_json::to_value(&secret.data).expect("data"),
            _ => Value::Null,
        }
    });
    contents
        .chain([json!({"tls.crt": "bm8="}), Value::Null])
        .collect()
});

fn secret() -> impl Strategy<Value = Value> {
    (0..3u8, 0..SECRETS.len()).prop_map(|(n, content)| {
        json!({
            "kind": "Secret", "metadata": {"namespace": "demo", "name": format!("t{n}")},
            "data": SECRETS[content],
        })
    })
}

fn class() -> impl Strategy<Value = Value> {
    let controller = prop::sample::select(vec!["portcullis.dev/ingress", "example.com/other"]);
    let name = prop::sample::select(vec!["portcullis", "portcullis", "other"]);
    (name, controller, any::<bool>()).prop_map(|(name, controller, default)| {
        json!({
            "kind": "IngressClass",
            "metadata": {
                "name": name,
                "annotations": {"ingressclass.kubernetes.io/is-default-class": default.to_string()},
            },
            "spec": {"controller": controller},
        })
    })
}

fn deletion() -> impl Strategy<Value = ObjectRef> {
    let one = |kind, prefix: &'static str, count: u8| {
        (0..count).prop_map(move |n| ObjectRef {
            kind,
            key: ObjectKey::new("demo", format!("{prefix}{n}")),
        })
    };
    prop_oneof![
        one(Kind::Ingress, "i", 5),
        one(Kind::Service, "s", 3),
        one(Kind::EndpointSlice, "e", 4),
        one(Kind::Secret, "t", 3),
        Just(ObjectRef {
            kind: Kind::IngressClass,
            key: ObjectKey::new("", "portcullis"),
        }),
    ]
}
