//! Services of type LoadBalancer and NodePort, by the node's address.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use portcullis_conformance::{Curl, Stage, eventually, eventually_some, free_port};
use serde_json::Value;

use crate::{CHANGE, deploy};

pub fn a_load_balancer_is_served_on_the_nodes_address(stage: &Stage) {
    deploy(stage, "balanced", 2);
    let port = free_port();
    expose(stage, "balanced", "front", port);
    let ip = eventually_some(GIVEN, || address(stage, "front"));
    let table = stage
        .kubectl
        .run(&["get", "service", "front", "--no-headers"])
        .ok();
    let columns: Vec<_> = table.split_whitespace().collect();
    assert_eq!(columns[3], ip.to_string(), "{table}");
    answers(SocketAddr::new(ip, port));
    let service = stage.kubectl.get_json(&["service", "front"]);
    answers(SocketAddr::new(
        ip,
        number(&service["spec"]["ports"][0]["nodePort"]),
    ));
    let told = || stage.kubectl.run(&["describe", "service", "front"]).ok();
    let reason = "EnsuredLoadBalancer";
    eventually(CHANGE, || {
        told().contains(reason).then_some(()).ok_or_else(told)
    });
    patch(
        stage,
        "front",
        r#"{"spec":{"externalTrafficPolicy":"Local"}}"#,
    );
    let service = stage.kubectl.get_json(&["service", "front"]);
    let check = SocketAddr::new(ip, number(&service["spec"]["healthCheckNodePort"]));
    eventually(CHANGE, || {
        let answer = get(check);
        answer.expect_status(200)?;
        match answer.json()["localEndpoints"].as_u64() {
            Some(2) => Ok(()),
            _ => Err(answer.body),
        }
    });
    answers(SocketAddr::new(ip, port));
    stage
        .kubectl
        .run(&["scale", "deployment", "balanced", "--replicas=0"])
        .ok();
    eventually(GIVEN, || get(check).expect_status(503));
    stage
        .kubectl
        .run(&["scale", "deployment", "balanced", "--replicas=1"])
        .ok();
    eventually(STARTED, || get(check).expect_status(200));
    patch(stage, "front", r#"{"spec":{"type":"ClusterIP"}}"#);
    let service = stage.kubectl.get_json(&["service", "front"]);
    assert_eq!(service["status"], serde_json::json!({"loadBalancer": {}}));
    for gone in [SocketAddr::new(ip, port), check] {
        eventually(CHANGE, || get(gone).expect_status(0));
    }
    patch(stage, "front", r#"{"spec":{"type":"LoadBalancer"}}"#);
    let again = eventually_some(GIVEN, || address(stage, "front"));
    assert_eq!(again, ip);
    answers(SocketAddr::new(ip, port));
    stage
        .kubectl
        .run(&["delete", "service", "front", "--timeout=10s"])
        .ok();
    eventually(CHANGE, || get(SocketAddr::new(ip, port)).expect_status(0));
}

pub fn a_port_in_use_leaves_a_load_balancer_pending_until_it_is_free(stage: &Stage) {
    deploy(stage, "wanted", 1);
    let port = free_port();
    expose(stage, "wanted", "first", port);
    let ip = eventually_some(GIVEN, || address(stage, "first"));
    expose(stage, "wanted", "second", port);
    let namespace = stage.kubectl.get_json(&["service", "second"])["metadata"]["namespace"].clone();
    let namespace = namespace.as_str().unwrap_or_default();
    refused(
        stage,
        "second",
        &format!("is already served for the Service {namespace}/first"),
    );
    stage
        .kubectl
        .run(&["delete", "service", "first", "--timeout=10s"])
        .ok();
    let given = eventually_some(GIVEN, || address(stage, "second"));
    assert_eq!(given, ip);
    answers(SocketAddr::new(ip, port));

    // The same of a process: this one.
    let own = free_port();
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, own)).expect("it is free");
    expose(stage, "wanted", "third", own);
    refused(stage, "third", &format!("(pid {})", std::process::id()));
    drop(listener);
    assert_eq!(eventually_some(GIVEN, || address(stage, "third")), ip);
    answers(SocketAddr::new(ip, own));
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, own)).expect_err("the Service has it now");

    // And of the ingress, which goes on.
    expose(stage, "wanted", "fourth", stage.cluster.ready.http.port());
    refused(stage, "fourth", "by the ingress of portcullis");
    let url = "http://wanted.pods.test/";
    eventually(CHANGE, || stage.cluster.get(url).send().pod().map(drop));
}

fn expose(stage: &Stage, deployment: &str, name: &str, port: u16) {
    let (name, port) = (format!("--name={name}"), format!("--port={port}"));
    let kind = "--type=LoadBalancer";
    let arguments = [
        "expose",
        "deployment",
        deployment,
        &name,
        &port,
        kind,
        "--target-port=8080",
    ];
    stage.kubectl.run(&arguments).ok();
}

fn patch(stage: &Stage, service: &str, patch: &str) {
    stage
        .kubectl
        .run(&["patch", "service", service, "-p", patch])
        .ok();
}

fn address(stage: &Stage, service: &str) -> Result<IpAddr, String> {
    let service = stage.kubectl.get_json(&["service", service]);
    let given = &service["status"]["loadBalancer"]["ingress"][0]["ip"];
    let ip = given.as_str().and_then(|ip| ip.parse().ok());
    ip.ok_or_else(|| service["status"].to_string())
}

/// `<pending>`, and an Event says why.
fn refused(stage: &Stage, service: &str, why: &str) {
    eventually(GIVEN, || {
        let told = stage.kubectl.run(&["describe", "service", service]).ok();
        match told.contains("SyncLoadBalancerFailed") && told.contains(why) {
            true => Ok(()),
            false => Err(told),
        }
    });
    let table = stage
        .kubectl
        .run(&["get", "service", service, "--no-headers"])
        .ok();
    assert!(table.contains("<pending>"), "{table}");
}

fn answers(at: SocketAddr) {
    eventually(CHANGE, || get(at).pod().map(drop));
}

fn get(at: SocketAddr) -> portcullis_conformance::Answer {
    Curl::get("http://balanced.test/", at).send()
}

fn number(port: &Value) -> u16 {
    let port = port.as_u64().and_then(|port| u16::try_from(port).ok());
    port.expect("a port was given")
}

/// An address, or the reason why there is none.
const GIVEN: Duration = Duration::from_secs(10);
/// A pod, on a loaded machine.
const STARTED: Duration = Duration::from_secs(60);
