//! Real pods behind the ingress: the demo, scaling under load, logs, probes.

#[path = "pods/balanced.rs"]
mod balanced;
#[path = "pods/identity.rs"]
mod identity;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use balanced::{
    a_load_balancer_is_served_on_the_nodes_address,
    a_port_in_use_leaves_a_load_balancer_pending_until_it_is_free,
};
use identity::{
    a_pod_talks_to_the_api_as_its_service_account, create_token_gives_what_was_asked_for,
    the_authority_is_in_every_namespace_and_comes_back,
};
use portcullis_conformance::{
    ClusterOptions, Load, Shared, Stage, Suite, eventually, eventually_some, scenarios,
};

fn main() -> ExitCode {
    let options = ClusterOptions {
        node: true,
        demo: false,
        ..ClusterOptions::default()
    };
    Suite::shared("pods", &options, SCENARIOS)
}

const SCENARIOS: &[Shared] = scenarios![
    a_deployment_is_served,
    logs_and_describe_show_the_pod,
    scaling_under_load_loses_nothing,
    a_rolling_update_loses_nothing,
    an_unready_pod_gets_no_traffic,
    configuration_reaches_the_container,
    a_failing_container_is_restarted,
    an_unknown_image_is_told,
    the_node_is_ready,
    a_pod_talks_to_the_api_as_its_service_account,
    create_token_gives_what_was_asked_for,
    the_authority_is_in_every_namespace_and_comes_back,
    a_load_balancer_is_served_on_the_nodes_address,
    a_port_in_use_leaves_a_load_balancer_pending_until_it_is_free,
];

fn a_deployment_is_served(stage: &Stage) {
    let host = deploy(stage, "served", 2);
    let pods = eventually_some(CHANGE, || match answering(stage, &host, 20) {
        pods if pods.len() == 2 => Ok(pods),
        pods => Err(format!("{pods:?} answer")),
    });
    let listed = stage.kubectl.run(&["get", "pods", "-o", "name"]).ok();
    let listed: BTreeSet<_> = listed
        .lines()
        .filter_map(|line| line.strip_prefix("pod/"))
        .map(str::to_owned)
        .collect();
    assert_eq!(pods, listed);
    let answer = stage.cluster.get(&format!("http://{host}/")).send();
    assert_eq!(answer.json()["namespace"], "a-deployment-is-served");
    stage
        .kubectl
        .run(&["scale", "deployment", "served", "--replicas=0"])
        .ok();
    let url = format!("http://{host}/");
    eventually(Duration::from_secs(3), || {
        stage.cluster.get(&url).send().expect_status(503)
    });
}

fn logs_and_describe_show_the_pod(stage: &Stage) {
    deploy(stage, "told", 1);
    let logs = stage.kubectl.run(&["logs", "deployment/told"]).ok();
    assert!(logs.contains("echo serves"), "{logs}");
    let described = stage.kubectl.run(&["describe", "pods"]).ok();
    assert!(
        described.contains("Status:           Running"),
        "{described}"
    );
    assert!(described.contains("Ready             True"), "{described}");
    let table = stage.kubectl.run(&["get", "pods", "--no-headers"]).ok();
    let cells: Vec<_> = table.split_whitespace().collect();
    assert_eq!(cells[1..4], ["1/1", "Running", "0"], "{table}");
    let pod = stage.kubectl.get_json(&["pods"]);
    let ip = pod["items"][0]["status"]["podIP"]
        .as_str()
        .unwrap_or_default();
    assert!(ip.starts_with("10.42."), "{pod}");
}

fn scaling_under_load_loses_nothing(stage: &Stage) {
    let host = deploy(stage, "scaled", 2);
    let load = Load::start(stage.cluster.ready.http, &host, "/?delay=10ms", 8);
    for replicas in [5, 1] {
        stage
            .kubectl
            .run(&[
                "scale",
                "deployment",
                "scaled",
                &format!("--replicas={replicas}"),
            ])
            .ok();
        let ready = format!("--for=jsonpath={{.status.readyReplicas}}={replicas}");
        stage
            .kubectl
            .run(&["wait", &ready, "deployment/scaled", "--timeout=60s"])
            .ok();
        eventually(Duration::from_secs(60), || {
            match answering(stage, &host, 30).len() {
                count if count == replicas => Ok(()),
                count => Err(format!("{count} of {replicas} pods answer")),
            }
        });
        eventually(Duration::from_secs(60), || {
            let pods = stage.kubectl.run(&["get", "pods", "-o", "name"]).ok();
            if pods.lines().count() == replicas {
                Ok(())
            } else {
                Err(pods)
            }
        });
    }
    lost_nothing(load);
}

fn a_rolling_update_loses_nothing(stage: &Stage) {
    let host = deploy(stage, "rolled", 2);
    let load = Load::start(stage.cluster.ready.http, &host, "/?delay=10ms", 8);
    let before = answering(stage, &host, 20);
    stage
        .kubectl
        .run(&["set", "env", "deployment/rolled", "ROUND=2"])
        .ok();
    stage
        .kubectl
        .run(&["rollout", "status", "deployment/rolled", "--timeout=90s"])
        .ok();
    eventually(Duration::from_secs(30), || {
        let after = answering(stage, &host, 20);
        if after.len() == 2 && after.is_disjoint(&before) {
            Ok(())
        } else {
            Err(format!("{before:?}, then {after:?}"))
        }
    });
    lost_nothing(load);
}

fn an_unready_pod_gets_no_traffic(stage: &Stage) {
    let manifest = application("unready", 1).replace("path: /readyz", "path: '/?status=500'");
    stage.kubectl.apply(&manifest).ok();
    let url = "http://unready.pods.test/";
    eventually(Duration::from_secs(30), || {
        let table = stage.kubectl.run(&["get", "pods", "--no-headers"]).ok();
        if table.contains("0/1") && table.contains("Running") {
            Ok(())
        } else {
            Err(table)
        }
    });
    eventually(CHANGE, || stage.cluster.get(url).send().expect_status(503));
    stage.kubectl.apply(&application("unready", 1)).ok();
    stage
        .kubectl
        .run(&["rollout", "status", "deployment/unready", "--timeout=60s"])
        .ok();
    eventually(CHANGE, || stage.cluster.get(url).send().expect_status(200));
}

fn configuration_reaches_the_container(stage: &Stage) {
    stage
        .kubectl
        .run(&[
            "create",
            "configmap",
            "settings",
            "--from-literal=port=9090",
        ])
        .ok();
    let manifest = application("configured", 1)
        .replace(
            "env: [",
            "env: [{name: PORT, valueFrom: {configMapKeyRef: {name: settings, key: port}}}, ",
        )
        .replace("containerPort: 8080", "containerPort: 9090");
    stage.kubectl.apply(&manifest).ok();
    stage
        .kubectl
        .run(&[
            "wait",
            "--for=condition=Available",
            "deployment/configured",
            "--timeout=60s",
        ])
        .ok();
    let url = "http://configured.pods.test/";
    eventually(CHANGE, || stage.cluster.get(url).send().expect_status(200));
}

fn a_failing_container_is_restarted(stage: &Stage) {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: failing}\nspec:\n  containers:\n  \
               - {name: main, image: 'portcullis.dev/echo:1', env: [{name: PORT, value: 'no port'}]}\n";
    stage.kubectl.apply(pod).ok();
    eventually(Duration::from_secs(60), || {
        let pod = stage.kubectl.get_json(&["pod", "failing"]);
        let status = &pod["status"]["containerStatuses"][0];
        match status["restartCount"].as_i64() {
            Some(count) if count >= 1 => Ok(()),
            _ => Err(status.to_string()),
        }
    });
    let pod = stage.kubectl.get_json(&["pod", "failing"]);
    let last = &pod["status"]["containerStatuses"][0]["lastState"]["terminated"];
    assert_ne!(last["exitCode"], 0, "{pod}");
    stage
        .kubectl
        .run(&["delete", "pod", "failing", "--timeout=40s"])
        .ok();
}

fn an_unknown_image_is_told(stage: &Stage) {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: imageless}\nspec:\n  containers:\n  \
               - {name: main, image: 'portcullis.dev/absent:1', imagePullPolicy: Never}\n";
    stage.kubectl.apply(pod).ok();
    eventually(Duration::from_secs(30), || {
        let table = stage
            .kubectl
            .run(&["get", "pod", "imageless", "--no-headers"])
            .ok();
        if table.contains("ErrImageNeverPull") {
            Ok(())
        } else {
            Err(table)
        }
    });
}

fn the_node_is_ready(stage: &Stage) {
    stage
        .kubectl
        .run(&[
            "wait",
            "--for=condition=Ready",
            "node",
            "--all",
            "--timeout=10s",
        ])
        .ok();
    let described = stage.kubectl.run(&["describe", "nodes"]).ok();
    assert!(described.contains("Allocatable:"), "{described}");
    let table = stage.kubectl.run(&["get", "nodes", "-o", "wide"]).ok();
    assert!(table.contains("containerd://"), "{table}");
}

/// Applies the application, waits until its pods are ready and the first request is answered; returns its host.
fn deploy(stage: &Stage, name: &str, replicas: usize) -> String {
    stage.kubectl.apply(&application(name, replicas)).ok();
    stage
        .kubectl
        .run(&[
            "wait",
            "--for=condition=Available",
            &format!("deployment/{name}"),
            "--timeout=60s",
        ])
        .ok();
    stage
        .kubectl
        .run(&[
            "wait",
            "--for=condition=Ready",
            "pod",
            "-l",
            &format!("app={name}"),
            "--timeout=60s",
        ])
        .ok();
    let host = format!("{name}.pods.test");
    let url = format!("http://{host}/");
    eventually(CHANGE, || stage.cluster.get(&url).send().pod().map(drop));
    host
}

/// The pods that answer `count` requests, each over its own connection.
fn answering(stage: &Stage, host: &str, count: usize) -> BTreeSet<String> {
    let ask = |_| {
        stage
            .cluster
            .get(&format!("http://{host}/"))
            .send()
            .pod()
            .ok()
    };
    (0..count).filter_map(ask).collect()
}

#[track_caller]
fn lost_nothing(load: Load) {
    let report = load.stop();
    let first = &report.lost[..report.lost.len().min(3)];
    assert!(
        report.lost.is_empty(),
        "{} lost of {}: {first:?}",
        report.lost.len(),
        report.answered
    );
    assert!(report.answered > 100, "{report:?}");
}

fn application(name: &str, replicas: usize) -> String {
    include_str!("application.yaml")
        .replace("@NAME@", name)
        .replace("@REPLICAS@", &replicas.to_string())
}

/// What is promised for every change.
const CHANGE: Duration = Duration::from_secs(1);
