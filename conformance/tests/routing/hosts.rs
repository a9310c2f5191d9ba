//! Which endpoint a host and path lead to.

use std::time::Duration;

use portcullis_conformance::{EchoServer, Stage, eventually};
use serde_json::Value;

use crate::{expect_pod, expect_status, ingress};

pub(crate) fn hosts_exact_and_wildcard(stage: &Stage) {
    let (one, other) = (EchoServer::start("exact"), EchoServer::start("wildcard"));
    stage
        .kubectl
        .apply(&EchoServer::service("exact", &[&one]))
        .ok();
    stage
        .kubectl
        .apply(&EchoServer::service("wildcard", &[&other]))
        .ok();
    stage
        .kubectl
        .apply(&ingress("exact", "a.hosts.test", "/", "exact"))
        .ok();
    stage
        .kubectl
        .apply(&ingress("wildcard", "'*.hosts.test'", "/", "wildcard"))
        .ok();
    expect_pod(stage, "http://a.hosts.test/", "exact");
    expect_pod(stage, "http://A.Hosts.Test/", "exact");
    expect_pod(stage, "http://b.hosts.test/", "wildcard");
    // A wildcard stands for one label, and for at least one.
    expect_status(stage, "http://b.c.hosts.test/", 404);
    expect_status(stage, "http://hosts.test/", 404);
}

pub(crate) fn paths_by_type_and_length(stage: &Stage) {
    let names = ["root", "prefix", "longer", "exact", "free"];
    let servers: Vec<_> = names.iter().map(|name| EchoServer::start(name)).collect();
    for (name, server) in names.iter().zip(&servers) {
        stage
            .kubectl
            .apply(&EchoServer::service(name, &[server]))
            .ok();
    }
    let path = |path: &str, kind: &str, service: &str| {
        format!(
            "      - {{path: {path}, pathType: {kind}, backend: {{service: {{name: {service}, port: {{number: 80}}}}}}}}\n"
        )
    };
    let manifest = format!(
        "{}{}{}{}{}{}",
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: paths}\n\
         spec:\n  ingressClassName: portcullis\n  rules:\n  - host: paths.test\n    http:\n      paths:\n",
        path("/", "Prefix", "root"),
        path("/app", "Prefix", "prefix"),
        path("/app/deep", "Prefix", "longer"),
        path("/app/exact", "Exact", "exact"),
        path("/free", "ImplementationSpecific", "free"),
    );
    stage.kubectl.apply(&manifest).ok();
    for (path, pod) in [
        ("/", "root"),
        ("/apple", "root"),
        ("/app", "prefix"),
        ("/app/", "prefix"),
        ("/app/other", "prefix"),
        ("/app/deep", "longer"),
        ("/app/deep/er", "longer"),
        ("/app/exact", "exact"),
        ("/app/exact/", "prefix"),
        ("/free", "free"),
        ("/free/more", "free"),
        ("/App", "root"),
    ] {
        expect_pod(stage, &format!("http://paths.test{path}"), pod);
    }
}

pub(crate) fn the_backend_learns_of_the_client(stage: &Stage) {
    let server = EchoServer::start("headers");
    stage
        .kubectl
        .apply(&EchoServer::service("headers", &[&server]))
        .ok();
    stage
        .kubectl
        .apply(&ingress("headers", "headers.test", "/", "headers"))
        .ok();
    expect_pod(stage, "http://headers.test/", "headers");
    let request = stage
        .cluster
        .get("http://headers.test/a?b=c")
        .header("x-forwarded-for: 10.9.8.7");
    let dump = request.send().json();
    let headers = &dump["headers"];
    assert_eq!(dump["host"], "headers.test", "{dump}");
    assert_eq!(
        (&dump["path"], &dump["query"]),
        (&Value::from("/a"), &Value::from("b=c"))
    );
    assert_eq!(headers["x-forwarded-host"], "headers.test", "{dump}");
    assert_eq!(headers["x-forwarded-proto"], "http", "{dump}");
    assert_eq!(headers["x-forwarded-scheme"], "http", "{dump}");
    assert_eq!(headers["x-scheme"], "http", "{dump}");
    assert_eq!(headers["x-real-ip"], "127.0.0.1", "{dump}");
    assert_eq!(
        headers["x-forwarded-for"], "127.0.0.1",
        "a stranger's word is not passed on: {dump}"
    );
    assert_eq!(
        headers["x-request-id"].as_str().map(str::len),
        Some(32),
        "{dump}"
    );
}

pub(crate) fn unknown_is_404_and_unready_503(stage: &Stage) {
    expect_status(stage, "http://nobody.test/", 404);
    let server = EchoServer::start("narrow");
    stage
        .kubectl
        .apply(&EchoServer::service("narrow", &[&server]))
        .ok();
    stage
        .kubectl
        .apply(&ingress("narrow", "narrow.test", "/only", "narrow"))
        .ok();
    expect_pod(stage, "http://narrow.test/only", "narrow");
    expect_status(stage, "http://narrow.test/", 404);
    stage.kubectl.apply(&EchoServer::service("empty", &[])).ok();
    stage
        .kubectl
        .apply(&ingress("empty", "empty.test", "/", "empty"))
        .ok();
    expect_status(stage, "http://empty.test/", 503);
    stage
        .kubectl
        .apply(&EchoServer::service("empty", &[&server]))
        .ok();
    expect_pod(stage, "http://empty.test/", "narrow");
}

pub(crate) fn the_default_backend_takes_the_rest(stage: &Stage) {
    let server = EchoServer::start("fallback");
    stage
        .kubectl
        .apply(&EchoServer::service("fallback", &[&server]))
        .ok();
    stage
        .kubectl
        .run(&[
            "create",
            "ingress",
            "fallback",
            "--class=portcullis",
            "--default-backend=fallback:80",
        ])
        .ok();
    expect_pod(stage, "http://whoever.test/whatever", "fallback");
    stage.kubectl.run(&["delete", "ingress", "fallback"]).ok();
    expect_status(stage, "http://whoever.test/whatever", 404);
}

pub(crate) fn an_ingress_without_class_gets_the_default(stage: &Stage) {
    let server = EchoServer::start("classless");
    stage
        .kubectl
        .apply(&EchoServer::service("classless", &[&server]))
        .ok();
    let manifest = ingress("classless", "classless.test", "/", "classless");
    stage
        .kubectl
        .apply(&manifest.replace("  ingressClassName: portcullis\n", ""))
        .ok();
    expect_pod(stage, "http://classless.test/", "classless");
    let made = stage.kubectl.get_json(&["ingress", "classless"]);
    assert_eq!(made["spec"]["ingressClassName"], "portcullis");
}

pub(crate) fn the_status_names_an_address(stage: &Stage) {
    stage
        .kubectl
        .apply(&ingress("addressed", "addressed.test", "/", "nowhere"))
        .ok();
    eventually(Duration::from_secs(5), || {
        let table = stage
            .kubectl
            .run(&["get", "ingress", "addressed", "--no-headers"])
            .ok();
        let cells: Vec<_> = table.split_whitespace().collect();
        match cells.as_slice() {
            [_, "portcullis", "addressed.test", address, "80", _] if !address.is_empty() => Ok(()),
            _ => Err(table),
        }
    });
}
