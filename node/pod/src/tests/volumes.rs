//! Whose a token's file is, and who else may read it.

use crate::environment::Facts;
use crate::sources::{Sources, TokenRequest};
use crate::volumes::{VolumePlan, volume};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Mode and owner of the token in a volume of mode 0644.
fn token(security: Value, inits: Value, containers: Value) -> (u32, Option<u32>) {
    let source = json!({"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}});
    let pod: Pod = serde_json::from_value(json!({"spec": {
        "securityContext": security,
        "initContainers": inits,
        "containers": containers,
        "volumes": [{"name": "v", "projected": {"sources": [source]}}],
    }}))
    .unwrap();
    let spec = pod.spec.as_ref().unwrap();
    let facts = Facts {
        pod: &pod,
        node_name: "a",
        host_ips: &[],
        pod_ips: &[],
        allocatable_cpu: 0,
        allocatable_memory: 0,
    };
    let request = TokenRequest {
        audience: None,
        lifetime_seconds: 3607,
    };
    let sources = Sources {
        tokens: BTreeMap::from([(request, "secret".to_owned())]),
        ..Sources::default()
    };
    let volumes = spec.volumes.as_ref().unwrap();
    let Ok(VolumePlan::Files { files, in_memory }) = volume(&volumes[0], spec, &facts, &sources)
    else {
        panic!("a volume of files");
    };
    assert!(in_memory, "a token does not reach a disk");
    let file = &files["token"];
    assert_eq!(file.content, b"secret");
    (file.mode, file.owner)
}

#[test]
fn a_token_belongs_to_the_one_user_of_its_pod() {
    let user = |user: i64| json!({"name": "c", "securityContext": {"runAsUser": user}});
    let any = || json!({"name": "c"});
    let cases = [
        (json!({}), json!([]), json!([any()]), (0o644, None)),
        (
            json!({"runAsUser": 7}),
            json!([]),
            json!([any()]),
            (0o600, Some(7)),
        ),
        (
            json!({"runAsUser": 7}),
            json!([]),
            json!([any(), user(8)]),
            (0o644, None),
        ),
        (
            json!({"runAsUser": 7}),
            json!([]),
            json!([user(8), user(8)]),
            (0o600, Some(8)),
        ),
        (json!({}), json!([]), json!([user(7), any()]), (0o644, None)),
        (json!({}), json!([any()]), json!([user(7)]), (0o644, None)),
        (
            json!({}),
            json!([user(7)]),
            json!([user(7)]),
            (0o600, Some(7)),
        ),
        (json!({}), json!([]), json!([user(0)]), (0o600, Some(0))),
        (
            json!({"fsGroup": 9}),
            json!([]),
            json!([any()]),
            (0o600, None),
        ),
        (
            json!({"fsGroup": 9, "runAsUser": 7}),
            json!([]),
            json!([any()]),
            (0o600, Some(7)),
        ),
    ];
    for (security, inits, containers, expected) in cases {
        let shown = format!("{security} {inits} {containers}");
        assert_eq!(token(security, inits, containers), expected, "{shown}");
    }
}
