//! Volumes that show objects, while those change.

use crate::stage::{Stage, get, until};
use serde_json::json;

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
