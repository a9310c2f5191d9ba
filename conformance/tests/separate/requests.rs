//! What a controller asks the API server for: `requests.txt` is what its roles have to allow, and all that they have to.
//!
//! A line is scope, verb, group, resource, and the name where it is one that is known before. The scope is a namespace
//! or `*`; `edge` is the controller's own, `site` is one that it serves. `UPDATE=1` writes the file anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;

use super::alone::{Alone, Controller};
use super::{EchoServer, Kubectl, START, Stage, eventually, eventually_some, ingress};

pub(crate) fn the_controller_asks_for_what_is_written_down(_stage: &Stage) {
    let everything = recorded(
        "everything",
        &["--mtls-secret=edge/link", "--proxy-selector=app=proxy"],
        "10.0.0.1",
    );
    let one_namespace = recorded(
        "one-namespace",
        &[
            "--mtls-secret=edge/link",
            "--publish-service=edge/proxies",
            "--watch-namespace=site",
        ],
        "192.0.2.7",
    );
    let mut text = String::new();
    for (title, table) in [
        ("# the whole cluster, --proxy-selector", everything),
        (
            "# --watch-namespace=site, --publish-service=edge/proxies",
            one_namespace,
        ),
    ] {
        text += &format!("{title}\n");
        table.iter().for_each(|line| text += &format!("{line}\n"));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/separate/requests.txt");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &text).expect("the table");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "UPDATE=1 accepts the change");
}

/// Everything that a controller with these flags asks for in its life: a status, Events once and again, the Secrets of its
/// proxies, and its leave as the last one.
fn recorded(name: &str, flags: &[&str], address: &str) -> BTreeSet<String> {
    let alone = Alone::start();
    furnish(&alone);
    let recorder = Recorder::start(&alone, name);
    let mut all = flags.to_vec();
    all.push("--pod-name=controller");
    let mut controller = alone.controller_by(&recorder.kubeconfig, name, &all);
    let kubectl = &alone.kubectl;
    kubectl.apply(&ingress("site", "asked.test", "web")).ok();
    alone.expect_addresses("site", &[address], START);
    told(kubectl, 1, &controller);
    kubectl.apply(&EchoServer::service("web", &[])).ok();
    kubectl.run(&["delete", "service", "web"]).ok();
    told(kubectl, 2, &controller);
    // As a renewal would: what somebody has spoilt is written anew.
    let edge = kubectl.within("edge");
    for secret in ["link", "link-controller"] {
        let key = || edge.get_json(&["secret", secret])["data"]["tls.key"].clone();
        eventually(START, || {
            let found = edge.run(&["get", "secret", secret]);
            found.success().then_some(()).ok_or(found.stderr)
        });
        let spoil = r#"{"data": {"tls.key": "c3BvaWx0"}}"#;
        edge.run(&["patch", "secret", secret, "--type=merge", "-p", spoil])
            .ok();
        eventually(START, || match key() == "c3BvaWx0" {
            false => Ok(()),
            true => Err(controller.process.log_tail()),
        });
    }
    assert_eq!(controller.process.stop().code, Some(0));
    assert!(alone.addresses("site").is_empty());
    recorder.requests()
}

/// What the namespace `edge` holds besides controllers.
fn furnish(alone: &Alone) {
    let edge = alone.kubectl.within("edge");
    edge.run(&["create", "serviceaccount", "default"]);
    edge.apply(FURNITURE).ok();
    for (what, name, status) in [
        (
            "node",
            "one",
            r#"{"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}"#,
        ),
        (
            "pod",
            "proxy",
            r#"{"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}"#,
        ),
        (
            "service",
            "proxies",
            r#"{"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}"#,
        ),
    ] {
        let patch = format!("{{\"status\": {status}}}");
        edge.run(&[
            "patch",
            what,
            name,
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ])
        .ok();
    }
}

/// Waits until the missing Service has been told of so often.
#[track_caller]
fn told(kubectl: &Kubectl, count: u64, controller: &Controller) {
    eventually(START, || {
        let events = kubectl.get_json(&["events"]);
        let mut all = events["items"].as_array().into_iter().flatten();
        let found =
            all.any(|event| event["reason"] == "ServiceNotFound" && event["count"] == count);
        match found {
            true => Ok(()),
            false => Err(format!("{events}\n{}", controller.process.log_tail())),
        }
    });
}

/// `kubectl proxy` between a controller and the API server, which tells of every request.
struct Recorder {
    process: Child,
    log: PathBuf,
    kubeconfig: PathBuf,
}

impl Recorder {
    fn start(alone: &Alone, name: &str) -> Self {
        let log = alone.path().join(format!("{name}.requests"));
        let process = alone
            .kubectl
            .start_into(&log, &["proxy", "--port=0", "-v=6"]);
        let port = eventually_some(START, || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let mut lines = text.lines();
            let port = lines.find_map(|line| Some(line.split_once("serve on 127.0.0.1:")?.1));
            port.map(str::to_owned).ok_or(text)
        });
        let kubeconfig = alone.path().join(format!("{name}.kubeconfig"));
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: it\n\
             clusters: [{{name: it, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]\n\
             contexts: [{{name: it, context: {{cluster: it, user: it}}}}]\nusers: [{{name: it, user: {{}}}}]\n"
        );
        fs::write(&kubeconfig, text).expect("our own directory");
        Self {
            process,
            log,
            kubeconfig,
        }
    }

    fn requests(mut self) -> BTreeSet<String> {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let log = fs::read_to_string(&self.log).expect("its log");
        let requests: BTreeSet<String> = log.lines().filter_map(request).collect();
        assert!(!requests.is_empty(), "nothing was recorded: {log}");
        requests
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A line of client-go's log of requests, as the authoriser sees the request.
fn request(line: &str) -> Option<String> {
    let field = |name: &str| {
        let rest = line.split_once(&format!("{name}=\""))?.1;
        Some(rest.split_once('"')?.0)
    };
    let (method, url) = (field("verb")?, field("url")?);
    let path = url.split_once("://")?.1.split_once('/')?.1;
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut parts = path.split('/');
    let group = match parts.next()? {
        "api" => {
            parts.next()?;
            "core"
        }
        "apis" => {
            let group = parts.next()?;
            parts.next()?;
            group
        }
        _ => return None,
    };
    let mut rest: Vec<&str> = parts.collect();
    let mut scope = "*";
    if rest.len() > 2 && rest[0] == "namespaces" {
        scope = rest[1];
        rest.drain(..2);
    }
    let named = rest.get(1).copied();
    let selected = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("fieldSelector=metadata.name%3D"));
    let verb = match (method, named) {
        ("GET", Some(_)) => "get",
        ("GET", None) if query.split('&').any(|pair| pair == "watch=true") => "watch",
        ("GET", None) => "list",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", _) => "delete",
        _ => return None,
    };
    let resource = match rest.get(2) {
        Some(subresource) => format!("{}/{subresource}", rest[0]),
        None => (*rest.first()?).to_owned(),
    };
    let name = match scope {
        "edge" => named.or(selected).unwrap_or("-"),
        _ => "-",
    };
    Some(format!("{scope} {verb} {group} {resource} {name}"))
}

const FURNITURE: &str = "\
apiVersion: v1
kind: Node
metadata: {name: one}
---
apiVersion: v1
kind: Pod
metadata: {name: proxy, labels: {app: proxy}}
spec: {nodeName: one, containers: [{name: proxy, image: none.invalid/none}]}
---
apiVersion: v1
kind: Pod
metadata: {name: controller, labels: {app: controller}}
spec: {containers: [{name: controller, image: none.invalid/none}]}
---
apiVersion: v1
kind: Service
metadata: {name: proxies}
spec: {type: LoadBalancer, ports: [{port: 80}]}
";
