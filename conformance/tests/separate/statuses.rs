//! Which addresses the statuses show, and which of several controllers writes them.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::alone::{Alone, Controller};
use super::{Duration, START, Stage, eventually, ingress};

pub(crate) fn one_of_two_controllers_writes(_stage: &Stage) {
    let alone = Alone::start();
    alone
        .kubectl
        .apply(&ingress("site", "two.test", "none"))
        .ok();
    let mut first = alone.controller("first", &["--publish-status-address=192.0.2.1"]);
    alone.expect_addresses("site", &["192.0.2.1"], START);
    let mut second = alone.controller("second", &["--publish-status-address=192.0.2.2"]);

    // The follower writes nothing, whatever it would like to see.
    let version = alone.version("site");
    alone.await_renewals(3);
    assert_eq!(alone.version("site"), version);
    assert!(first.leads() && !second.leads());

    // Crash: the other one takes over, once.
    first.process.crash();
    alone.expect_addresses("site", &["192.0.2.2"], FAILOVER);
    assert_eq!(alone.lease()["leaseTransitions"], 1);
    let first = alone.controller("first", &["--publish-status-address=192.0.2.1"]);
    let version = alone.version("site");
    alone.await_renewals(3);
    assert_eq!(alone.version("site"), version);
    assert_eq!(alone.lease()["leaseTransitions"], 1);

    // Told to stop it gives the Lease back, and nobody has to wait for its end. Its Pod is not known here, so that it
    // leaves what it has written to others.
    assert_eq!(second.process.stop().code, Some(0));
    let took = alone.expect_addresses("site", &["192.0.2.1"], FAILOVER);
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert!(first.leads());
}

pub(crate) fn a_controller_that_was_held_up_writes_nothing(_stage: &Stage) {
    let alone = Alone::start();
    alone
        .kubectl
        .apply(&ingress("site", "held.test", "none"))
        .ok();
    let first = alone.controller("first", &["--publish-status-address=192.0.2.1"]);
    alone.expect_addresses("site", &["192.0.2.1"], START);
    let second = alone.controller("second", &["--publish-status-address=192.0.2.2"]);
    signal(&first, Signal::SIGSTOP);
    alone.expect_addresses("site", &["192.0.2.2"], FAILOVER);
    // Work waits for the first one when it comes back, which still believes in its Lease.
    for name in ["a", "b", "c", "d"] {
        let host = format!("{name}.held.test");
        alone.kubectl.apply(&ingress(name, &host, "none")).ok();
        alone.expect_addresses(name, &["192.0.2.2"], SOON);
    }
    let versions = || ["site", "a", "b", "c", "d"].map(|name| alone.version(name));
    let before = versions();
    signal(&first, Signal::SIGCONT);
    alone.await_renewals(3);
    assert_eq!(versions(), before);
    assert!(second.leads() && !first.leads());
    assert_eq!(alone.lease()["leaseTransitions"], 1);
}

pub(crate) fn statuses_follow_the_published_service(_stage: &Stage) {
    let alone = Alone::start();
    let edge = alone.kubectl.within("edge");
    edge.apply(
        "apiVersion: v1\nkind: Service\nmetadata: {name: proxies}\n\
         spec: {type: LoadBalancer, ports: [{port: 80}]}\n",
    )
    .ok();
    alone
        .kubectl
        .apply(&ingress("site", "lb.test", "none"))
        .ok();
    // The Service lies outside of the namespaces that are watched.
    let _controller = alone.controller(
        "controller",
        &["--publish-service=edge/proxies", "--watch-namespace=site"],
    );
    assert!(alone.addresses("site").is_empty());
    let balance = |entries: &str| {
        let patch = format!("{{\"status\": {{\"loadBalancer\": {{\"ingress\": {entries}}}}}}}");
        let patched = edge.run(&[
            "patch",
            "service",
            "proxies",
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ]);
        patched.ok();
    };
    balance(r#"[{"ip": "192.0.2.7"}]"#);
    alone.expect_addresses("site", &["192.0.2.7"], SOON);
    balance(r#"[{"hostname": "lb.example.com"}, {"ip": "2001:db8::7"}, {"ip": "192.0.2.8"}]"#);
    alone.expect_addresses("site", &["192.0.2.8", "2001:db8::7"], SOON);
    balance(r#"[{"hostname": "lb.example.com"}]"#);
    alone.expect_addresses("site", &["lb.example.com"], SOON);
    balance("[]");
    alone.expect_addresses("site", &[], SOON);
}

pub(crate) fn statuses_show_the_nodes_of_ready_proxies(_stage: &Stage) {
    let alone = Alone::start();
    let edge = alone.kubectl.within("edge");
    edge.run(&["create", "serviceaccount", "default"]);
    let node = |name: &str, addresses: &str| {
        let object = format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n");
        edge.apply(&object).ok();
        let patch = format!("{{\"status\": {{\"addresses\": {addresses}}}}}");
        patch_status(&edge, "node", name, &patch);
    };
    node(
        "one",
        r#"[{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "ExternalIP", "address": "192.0.2.1"}]"#,
    );
    node("two", r#"[{"type": "InternalIP", "address": "10.0.0.2"}]"#);
    for (pod, node) in [("proxy-1", "one"), ("proxy-2", "two")] {
        edge.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {pod}, labels: {{app: proxy}}}}\n\
             spec: {{nodeName: {node}, containers: [{{name: proxy, image: none.invalid/none}}]}}\n"
        ))
        .ok();
    }
    let ready = |pod: &str, is: &str| {
        let condition = format!(r#"{{"type": "Ready", "status": "{is}"}}"#);
        let patch = format!(r#"{{"status": {{"phase": "Running", "conditions": [{condition}]}}}}"#);
        patch_status(&edge, "pod", pod, &patch);
    };
    alone
        .kubectl
        .apply(&ingress("site", "node.test", "none"))
        .ok();
    let mut controller = alone.controller("controller", &["--proxy-selector=app=proxy"]);
    ready("proxy-1", "True");
    alone.expect_addresses("site", &["192.0.2.1"], SOON);
    ready("proxy-2", "True");
    alone.expect_addresses("site", &["10.0.0.2", "192.0.2.1"], SOON);
    ready("proxy-1", "False");
    alone.expect_addresses("site", &["10.0.0.2"], SOON);
    // A moment without any: the record of the last one stays.
    ready("proxy-2", "False");
    alone
        .kubectl
        .apply(&ingress("later", "later.test", "none"))
        .ok();
    alone.await_renewals(2);
    assert_eq!(alone.addresses("site"), ["10.0.0.2"]);
    assert!(alone.addresses("later").is_empty());

    controller.process.stop();
    ready("proxy-1", "True");
    let flags = [
        "--proxy-selector=app=proxy",
        "--report-node-internal-ip-address",
    ];
    let _controller = alone.controller("internal", &flags);
    alone.expect_addresses("site", &["10.0.0.1"], START);
}

pub(crate) fn the_last_controller_empties_the_statuses(_stage: &Stage) {
    let alone = Alone::start();
    let edge = alone.kubectl.within("edge");
    edge.run(&["create", "serviceaccount", "default"]);
    for pod in ["one", "two"] {
        edge.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {pod}, labels: {{app: controller, pod-template-hash: {pod}}}}}\n\
             spec: {{containers: [{{name: controller, image: none.invalid/none}}]}}\n"
        ))
        .ok();
    }
    alone
        .kubectl
        .apply(&ingress("site", "last.test", "none"))
        .ok();
    let start = |pod: &str| {
        let name = format!("--pod-name={pod}");
        alone.controller(pod, &["--publish-status-address=192.0.2.1", &name])
    };
    let mut one = start("one");
    alone.expect_addresses("site", &["192.0.2.1"], START);
    // Another Pod of the same workload is there.
    assert_eq!(one.process.stop().code, Some(0));
    assert_eq!(alone.addresses("site"), ["192.0.2.1"]);
    let mut two = start("two");
    eventually(FAILOVER, || {
        two.leads()
            .then_some(())
            .ok_or("it does not lead".to_owned())
    });
    edge.run(&["delete", "pod", "one", "--grace-period=0", "--force"])
        .ok();
    assert_eq!(two.process.stop().code, Some(0));
    assert!(alone.addresses("site").is_empty());

    let flags = [
        "--publish-status-address=192.0.2.1",
        "--pod-name=two",
        "--update-status-on-shutdown=false",
    ];
    let mut told = alone.controller("told", &flags);
    alone.expect_addresses("site", &["192.0.2.1"], START);
    assert_eq!(told.process.stop().code, Some(0));
    assert_eq!(alone.addresses("site"), ["192.0.2.1"]);
}

fn patch_status(kubectl: &super::Kubectl, resource: &str, name: &str, patch: &str) {
    let arguments = [
        "patch",
        resource,
        name,
        "--subresource=status",
        "--type=merge",
        "-p",
        patch,
    ];
    kubectl.run(&arguments).ok();
}

fn signal(controller: &Controller, signal: Signal) {
    let id = controller.process.id().expect("it runs");
    let id = i32::try_from(id).expect("process ids fit in i32");
    // setpriv has become the controller: the id is the controller's own.
    kill(Pid::from_raw(id), signal).expect("the process is there");
}

/// What is promised when a leader dies without a word.
const FAILOVER: Duration = Duration::from_secs(15);
/// Seconds, not a minute.
const SOON: Duration = Duration::from_secs(5);
