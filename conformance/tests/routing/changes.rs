//! What changes while it is served.

use portcullis_conformance::{EchoServer, Load, Stage};

use crate::{expect_pod, expect_status, ingress};

pub(crate) fn changes_show_within_a_second(stage: &Stage) {
    let (one, other) = (EchoServer::start("blue"), EchoServer::start("green"));
    stage
        .kubectl
        .apply(&EchoServer::service("blue", &[&one]))
        .ok();
    stage
        .kubectl
        .apply(&EchoServer::service("green", &[&other]))
        .ok();
    stage
        .kubectl
        .apply(&ingress("colour", "colour.test", "/", "blue"))
        .ok();
    expect_pod(stage, "http://colour.test/", "blue");
    stage
        .kubectl
        .apply(&ingress("colour", "colour.test", "/", "green"))
        .ok();
    expect_pod(stage, "http://colour.test/", "green");
    stage
        .kubectl
        .apply(&ingress("colour", "other.colour.test", "/", "green"))
        .ok();
    expect_pod(stage, "http://other.colour.test/", "green");
    expect_status(stage, "http://colour.test/", 404);
    stage
        .kubectl
        .apply(&EchoServer::service("green", &[&one]))
        .ok();
    expect_pod(stage, "http://other.colour.test/", "blue");
    stage
        .kubectl
        .run(&["delete", "endpointslice", "green-0"])
        .ok();
    expect_status(stage, "http://other.colour.test/", 503);
    stage.kubectl.run(&["delete", "ingress", "colour"]).ok();
    expect_status(stage, "http://other.colour.test/", 404);
}

pub(crate) fn changes_lose_nothing(stage: &Stage) {
    let (one, other) = (EchoServer::start("before"), EchoServer::start("after"));
    stage
        .kubectl
        .apply(&EchoServer::service("before", &[&one]))
        .ok();
    stage
        .kubectl
        .apply(&EchoServer::service("after", &[&other]))
        .ok();
    stage
        .kubectl
        .apply(&ingress("steady", "steady.test", "/", "before"))
        .ok();
    expect_pod(stage, "http://steady.test/", "before");
    let load = Load::start(stage.cluster.ready.http, "steady.test", "/?delay=5ms", 6);
    for round in 0..4 {
        let service = if round % 2 == 0 { "after" } else { "before" };
        stage
            .kubectl
            .apply(&ingress("steady", "steady.test", "/", service))
            .ok();
        stage
            .kubectl
            .apply(&ingress(
                &format!("other-{round}"),
                &format!("o{round}.steady.test"),
                "/",
                service,
            ))
            .ok();
        expect_pod(stage, "http://steady.test/", service);
    }
    let report = load.stop();
    assert!(
        report.lost.is_empty(),
        "{} lost of {}: {:?}",
        report.lost.len(),
        report.answered,
        &report.lost[..1]
    );
    assert!(
        report.pods.contains_key("before") && report.pods.contains_key("after"),
        "{:?}",
        report.pods
    );
}
