//! Mutual TLS by a Secret that the controller keeps and the proxy mounts.

use std::net::{Ipv4Addr, SocketAddr};

use portcullis_conformance::Curl;

use super::alone::{Alone, Controller, Mount};
use super::{
    EchoServer, Environment, Kubectl, Process, START, Stage, eventually, free_port, serve,
};

pub(crate) fn controller_and_proxy_meet_by_a_secret(_stage: &Stage) {
    let alone = Alone::start();
    let edge = alone.kubectl.within("edge");
    let (http, https) = (free_port(), free_port());
    let ports = [
        format!("--http-port={http}"),
        format!("--https-port={https}"),
    ];
    let start = || {
        let mut flags = vec!["--mtls-secret=edge/link", "--mtls-service=edge/controllers"];
        flags.push("--update-status=false");
        flags.extend(ports.iter().map(String::as_str));
        alone.controller("controller", &flags)
    };
    let mut controller = start();
    assert_eq!(secrets(&edge), ["link", "link-controller"]);

    let server = serve(&alone.kubectl, "secret.test", "first");
    let mut mount = Mount::new(alone.path().join("mount"));
    let mut proxy = proxy(&alone, &controller, &mount);
    // It waits for its files.
    eventually(START, || {
        match proxy.log().contains("cannot read our own certificate") {
            true => Ok(()),
            false => Err(proxy.log_tail()),
        }
    });
    mount.refresh(&edge, "link");
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, http));
    let expect = |pod: &str, proxy: &Process| {
        eventually(START, || {
            match Curl::get("http://secret.test/", at).send().pod() {
                Ok(found) if found == pod => Ok(()),
                found => Err(format!("{found:?} instead of {pod}\n{}", proxy.log_tail())),
            }
        });
    };
    expect("first", &proxy);

    // Both Secrets are lost: another authority. The proxy serves on, takes up the new files when they are there, and is
    // never restarted.
    let before = proxy.id();
    edge.run(&["delete", "secret", "link", "link-controller"])
        .ok();
    eventually(START, || {
        let found = edge.run(&["get", "secret", "link", "link-controller"]);
        found.success().then_some(()).ok_or(found.stderr)
    });
    controller.process.crash();
    let link = controller.link;
    drop(controller);
    let second = EchoServer::start("second");
    alone
        .kubectl
        .apply(&EchoServer::service("first", &[&second]))
        .ok();
    expect("first", &proxy);
    mount.refresh(&edge, "link");
    let controller = start_at(&alone, link, &ports);
    expect("second", &proxy);
    assert_eq!(proxy.id(), before);
    assert!(proxy.ended().is_none());
    drop((server, controller));
}

/// Names of the Secrets that are there.
fn secrets(kubectl: &Kubectl) -> Vec<String> {
    let secrets = kubectl.get_json(&["secrets"]);
    let all = secrets["items"].as_array().into_iter().flatten();
    let names = all.filter_map(|secret| secret["metadata"]["name"].as_str());
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort();
    names
}

/// A proxy of that controller, with the files of a mount.
fn proxy(alone: &Alone, controller: &Controller, mount: &Mount) -> Process {
    let state = alone.path().join("state");
    let arguments = [
        "proxy".to_owned(),
        format!("--controller=127.0.0.1:{}", controller.link),
        format!("--pki-dir={}", mount.path().display()),
        format!("--state-dir={}", state.display()),
        "--admin-port=0".to_owned(),
        "--workers=1".to_owned(),
        "--access-log=off".to_owned(),
        "--drain-seconds=5".to_owned(),
    ];
    Process::start(alone.path(), "proxy", &arguments, Environment::Bare)
}

/// The same with the port at which proxies know it.
fn start_at(alone: &Alone, link: u16, ports: &[String]) -> Controller {
    let listen = format!("--listen=127.0.0.1:{link}");
    let mut flags = vec!["--mtls-secret=edge/link", "--update-status=false", &listen];
    flags.extend(ports.iter().map(String::as_str));
    alone.controller("controller", &flags)
}
