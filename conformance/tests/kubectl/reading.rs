//! What kubectl shows.

use std::io::{BufRead, BufReader};

use portcullis_conformance::{Stage, eventually};

use crate::{DEPLOYMENT, SOON};

pub(crate) fn apply_get_and_describe(stage: &Stage) {
    let kubectl = &stage.kubectl;
    let said = kubectl.apply(DEPLOYMENT).ok();
    assert_eq!(said, "deployment.apps/web created\n");
    let said = kubectl.apply(DEPLOYMENT).ok();
    assert_eq!(said, "deployment.apps/web unchanged\n");
    let yaml = kubectl
        .run(&["get", "deployment", "web", "-o", "yaml"])
        .ok();
    assert!(
        yaml.starts_with("apiVersion: apps/v1\nkind: Deployment\n"),
        "{yaml}"
    );
    assert!(
        yaml.contains("progressDeadlineSeconds: 600"),
        "defaults are filled in:\n{yaml}"
    );
    let described = kubectl.run(&["describe", "deployment", "web"]).ok();
    assert!(
        described.contains("StrategyType:           RollingUpdate"),
        "{described}"
    );
    assert!(described.contains("Image:"), "{described}");
    let names = kubectl
        .run(&["get", "deploy", "-l", "app=web", "-o", "name"])
        .ok();
    assert_eq!(names, "deployment.apps/web\n");
    let none = kubectl.run(&["get", "deploy", "-l", "app=other"]);
    assert!(none.stderr.starts_with("No resources found in"), "{none:?}");
}

pub(crate) fn tables_look_like_upstreams(stage: &Stage) {
    let kubectl = &stage.kubectl;
    kubectl.apply(DEPLOYMENT).ok();
    kubectl
        .run(&["create", "service", "clusterip", "web", "--tcp=80:8080"])
        .ok();
    kubectl
        .run(&[
            "create",
            "ingress",
            "web",
            "--class=portcullis",
            "--rule=web.test/=web:80",
        ])
        .ok();
    let columns = |resource: &str| {
        let table = kubectl.run(&["get", resource]).ok();
        let head = table.lines().next().unwrap_or_default();
        head.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        columns("deployments"),
        "NAME READY UP-TO-DATE AVAILABLE AGE"
    );
    assert_eq!(
        columns("services"),
        "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE"
    );
    assert_eq!(columns("ingresses"), "NAME CLASS HOSTS ADDRESS PORTS AGE");
    assert_eq!(columns("ingressclasses"), "NAME CONTROLLER PARAMETERS AGE");
    assert_eq!(columns("namespaces"), "NAME STATUS AGE");
    eventually(SOON, || {
        let table = kubectl.run(&["get", "ingress", "web", "--no-headers"]).ok();
        let cells: Vec<_> = table.split_whitespace().collect();
        match cells.as_slice() {
            ["web", "portcullis", "web.test", _, "80", _] => Ok(()),
            _ => Err(table),
        }
    });
    eventually(SOON, || {
        let pods = kubectl.run(&["get", "pods"]).ok();
        let head = pods.lines().next().unwrap_or_default();
        let head = head.split_whitespace().collect::<Vec<_>>().join(" ");
        if head == "NAME READY STATUS RESTARTS AGE" {
            Ok(())
        } else {
            Err(pods)
        }
    });
}

pub(crate) fn api_resources_are_listed(stage: &Stage) {
    let kubectl = &stage.kubectl;
    let listed = kubectl.run(&["api-resources", "-o", "name"]).ok();
    for resource in [
        "namespaces",
        "nodes",
        "pods",
        "services",
        "configmaps",
        "secrets",
        "serviceaccounts",
        "events",
        "deployments.apps",
        "replicasets.apps",
        "ingresses.networking.k8s.io",
        "ingressclasses.networking.k8s.io",
        "endpointslices.discovery.k8s.io",
        "leases.coordination.k8s.io",
        "clusterroles.rbac.authorization.k8s.io",
        "rolebindings.rbac.authorization.k8s.io",
    ] {
        assert!(
            listed.lines().any(|line| line == resource),
            "{resource} is missing in\n{listed}"
        );
    }
    let explained = kubectl.run(&["explain", "ingress.spec.rules"]).ok();
    assert!(explained.contains("FIELDS:"), "{explained}");
    let version = kubectl.run(&["version"]).ok();
    assert!(version.contains("Server Version: v1."), "{version}");
}

pub(crate) fn watch_sees_changes(stage: &Stage) {
    let kubectl = &stage.kubectl;
    let mut watching = kubectl.start(&[
        "get",
        "configmaps",
        "-w",
        "--output-watch-events",
        "--no-headers",
    ]);
    let mut lines = BufReader::new(watching.stdout.take().expect("piped")).lines();
    kubectl
        .run(&["create", "configmap", "seen", "--from-literal=a=b"])
        .ok();
    let mut next = |event: &str| {
        let found = lines
            .by_ref()
            .map_while(Result::ok)
            .find(|line| line.contains("seen"));
        let found = found.unwrap_or_else(|| panic!("the watch ended before {event}"));
        assert!(found.starts_with(event), "{event} expected, not {found}");
    };
    next("ADDED");
    kubectl
        .run(&["label", "configmap", "seen", "changed=yes"])
        .ok();
    next("MODIFIED");
    kubectl.run(&["delete", "configmap", "seen"]).ok();
    next("DELETED");
    watching.kill().expect("it runs");
    watching.wait().expect("it ends");
}
