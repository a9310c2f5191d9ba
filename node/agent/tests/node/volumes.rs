//! Volumes that show objects, while those change.

use crate::stage::{Stage, condition, get, until};
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt;

pub fn follow_their_objects_and_renew_tokens_when_due(stage: &Stage) {
    let colour = |colour: &str| {
        let map = json!({"metadata": {"name": "paint", "namespace": "default"}, "data": {"colour": colour}});
        stage
            .api
            .put("/api/v1/namespaces/default/configmaps/paint", map);
    };
    colour("green");
    let path = stage.apply("fresh", json!({
        "nodeName": "stage",
        "terminationGracePeriodSeconds": 0,
        "volumes": [{"name": "v", "projected": {"sources": [
            {"configMap": {"name": "paint"}},
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 600}},
            {"downwardAPI": {"items": [{"path": "mood", "fieldRef": {"fieldPath": "metadata.annotations['mood']"}}]}},
        ]}}],
        "containers": [{
            "name": "echo",
            "image": "portcullis.dev/echo:1",
            "volumeMounts": [{"name": "v", "mountPath": "/v"}, {"name": "v", "mountPath": "/pinned", "subPath": "colour"}],
        }],
    }));
    let file = |name: &str| {
        let ip = stage.pod(&path)["status"]["podIP"]
            .as_str()
            .unwrap_or("127.0.0.1")
            .to_owned();
        get(&format!("{ip}:8080"), &format!("/file/{name}")).unwrap_or_default()
    };
    // A change to the pod hastens what otherwise waits for the period.
    let annotate = |mood: &str| {
        let mut pod = stage.pod(&path);
        pod["metadata"]["annotations"] = json!({"mood": mood});
        stage.api.put(&path, pod);
    };
    until("it shows the first state", || {
        file("v/colour") == "green" && file("v/token") == "token-1"
    });
    colour("blue");
    annotate("calm");
    until("its files follow", || {
        file("v/colour") == "blue" && file("v/mood") == "calm"
    });
    assert_eq!(file("v/token"), "token-2");
    assert_eq!(file("pinned"), "green", "a subPath stays");
    annotate("merry");
    until("its files follow again", || file("v/mood") == "merry");
    assert_eq!(file("v/token"), "token-2", "not due yet");
    stage
        .api
        .remove("/api/v1/namespaces/default/configmaps/paint");
    annotate("sad");
    let message = "MountVolume.SetUp failed for volume \"v\" : configmap \"paint\" not found";
    until("its loss is told", || {
        stage.told("fresh", "FailedMount", message).is_some()
    });
    assert_eq!(file("v/colour"), "blue", "what was there stays");
    stage.api.delete(&path, 0);
    until("fresh is gone", || stage.api.get(&path).is_none());
}

/// A container that is not root reads its token, and where it is known who it is, nobody else does.
pub fn tokens_are_for_whom_the_pod_runs_as(stage: &Stage) {
    let user = |user: i64| json!({"runAsUser": user, "runAsNonRoot": true});
    let both = || [user(1000), user(1001)];
    let none = || [json!({}), json!({})];
    check_token(stage, "alone", user(1000), none(), [0o600, 1000, 0]);
    let group = json!({"fsGroup": 2000});
    check_token(stage, "shared", group, both(), [0o640, 0, 2000]);
    check_token(stage, "anyone", json!({}), both(), [0o644, 0, 0]);
}

/// Runs two containers in a pod of such security contexts; `wanted` are mode, user and group of the token they read.
fn check_token(stage: &Stage, name: &str, pod: Value, containers: [Value; 2], wanted: [u32; 3]) {
    let container = |index: usize| {
        json!({
            "name": format!("c{index}"),
            "image": "portcullis.dev/echo:1",
            "securityContext": containers[index],
            "env": [{"name": "PORT", "value": (8080 + index).to_string()}],
            "readinessProbe": {"tcpSocket": {"port": 8080 + index}},
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        })
    };
    let source = json!({"serviceAccountToken": {"path": "token"}});
    let path = stage.apply(
        name,
        json!({
            "nodeName": "stage",
            "terminationGracePeriodSeconds": 0,
            "securityContext": pod,
            "volumes": [{"name": "v", "projected": {"sources": [source]}}],
            "containers": [container(0), container(1)],
        }),
    );
    until("both serve", || {
        condition(&stage.pod(&path), "Ready") == Some("True".into())
    });
    let pod = stage.pod(&path);
    let ip = pod["status"]["podIP"].as_str().unwrap();
    for port in [8080, 8081] {
        let token = get(&format!("{ip}:{port}"), "/file/v/token").unwrap();
        assert!(token.starts_with("token-"), "{name} {port}: {token}");
    }
    let file = format!("pods/uid-{name}/volumes/v/token");
    let file = std::fs::metadata(stage.directory.path().join(file)).unwrap();
    assert_eq!(
        [file.mode() & 0o777, file.uid(), file.gid()],
        wanted,
        "{name}"
    );
    stage.api.delete(&path, 0);
    until("it is gone", || stage.api.get(&path).is_none());
}
