//! Objects that cannot be served as written.

use std::time::Duration;

use portcullis_conformance::{EchoServer, Stage, eventually};
use serde_json::Value;

use crate::{expect_pod, expect_status, ingress, tls_ingress};

pub(crate) fn a_bad_certificate_is_told(stage: &Stage) {
    let server = EchoServer::start("broken");
    stage
        .kubectl
        .apply(&EchoServer::service("broken", &[&server]))
        .ok();
    let secret = "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {name: broken}\n\
                  stringData: {tls.crt: nonsense, tls.key: nonsense}\n";
    stage.kubectl.apply(secret).ok();
    stage
        .kubectl
        .apply(&tls_ingress("broken", "broken.test", "broken"))
        .ok();
    expect_event(stage, "broken", "certificate");
    // Its host is served with the default certificate, and everybody else goes on.
    let answer = stage
        .cluster
        .get("https://broken.test/")
        .with(&["--insecure"])
        .send();
    assert_eq!(answer.pod().as_deref(), Ok("broken"));
}

pub(crate) fn a_missing_service_is_told(stage: &Stage) {
    stage
        .kubectl
        .apply(&ingress("lonely", "lonely.test", "/", "nowhere"))
        .ok();
    expect_event(stage, "lonely", "nowhere");
    expect_status(stage, "http://lonely.test/", 503);
}

pub(crate) fn a_missing_class_is_left_alone(stage: &Stage) {
    let server = EchoServer::start("foreign");
    stage
        .kubectl
        .apply(&EchoServer::service("foreign", &[&server]))
        .ok();
    let manifest = ingress("foreign", "foreign.test", "/", "foreign");
    stage
        .kubectl
        .apply(&manifest.replace("ingressClassName: portcullis", "ingressClassName: absent"))
        .ok();
    expect_event(stage, "foreign", "absent");
    expect_status(stage, "http://foreign.test/", 404);
}

pub(crate) fn the_older_ingress_keeps_its_path(stage: &Stage) {
    let (one, other) = (EchoServer::start("older"), EchoServer::start("newer"));
    stage
        .kubectl
        .apply(&EchoServer::service("older", &[&one]))
        .ok();
    stage
        .kubectl
        .apply(&EchoServer::service("newer", &[&other]))
        .ok();
    stage
        .kubectl
        .apply(&ingress("z-older", "claimed.test", "/", "older"))
        .ok();
    expect_pod(stage, "http://claimed.test/", "older");
    // Creation times have whole seconds: the two must not share one.
    let first = creation_time(stage, "z-older");
    let next = |_: &()| stage.kubectl.run(&["create", "configmap", "clock"]);
    eventually(Duration::from_secs(5), || {
        stage
            .kubectl
            .run(&["delete", "configmap", "clock", "--ignore-not-found"])
            .ok();
        next(&()).ok();
        let clock = stage.kubectl.get_json(&["configmap", "clock"]);
        let now = clock["metadata"]["creationTimestamp"]
            .as_str()
            .unwrap_or_default();
        if now > first.as_str() {
            Ok(())
        } else {
            Err("the same second".to_owned())
        }
    });
    stage
        .kubectl
        .apply(&ingress("a-newer", "claimed.test", "/", "newer"))
        .ok();
    expect_event(stage, "a-newer", "claimed.test");
    expect_pod(stage, "http://claimed.test/", "older");
    stage.kubectl.run(&["delete", "ingress", "z-older"]).ok();
    expect_pod(stage, "http://claimed.test/", "newer");
}

fn creation_time(stage: &Stage, ingress: &str) -> String {
    let object = stage.kubectl.get_json(&["ingress", ingress]);
    object["metadata"]["creationTimestamp"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// An Event about the Ingress whose message has `word`.
#[track_caller]
fn expect_event(stage: &Stage, ingress: &str, word: &str) {
    eventually(Duration::from_secs(5), || {
        let events = stage.kubectl.get_json(&["events"]);
        let about = |event: &&Value| event["involvedObject"]["name"] == ingress;
        let messages: Vec<_> = events["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(about)
            .map(|event| event["message"].to_string())
            .collect();
        match messages.iter().any(|message| message.contains(word)) {
            true => Ok(()),
            false => Err(format!(
                "no event about {ingress} with {word:?} in {messages:?}"
            )),
        }
    });
}
