//! What kubectl makes, changes and deletes.

use std::time::Duration;

use portcullis_conformance::{Stage, certificate, eventually, eventually_some};

use crate::{DEPLOYMENT, SOON};

pub(crate) fn create_makes_every_common_kind(stage: &Stage) {
    let kubectl = &stage.kubectl;
    let (certificate, key) = certificate_files();
    let certificate = format!("--cert={}", certificate.path().display());
    let key = format!("--key={}", key.path().display());
    for arguments in [
        vec![
            "create",
            "deployment",
            "web",
            "--image=portcullis.dev/echo:1",
            "--replicas=2",
        ],
        vec!["create", "service", "clusterip", "web", "--tcp=80:8080"],
        vec!["create", "service", "nodeport", "web-node", "--tcp=80:8080"],
        vec![
            "create",
            "ingress",
            "web",
            "--class=portcullis",
            "--rule=web.test/*=web:80,tls=web-tls",
        ],
        vec!["create", "secret", "tls", "web-tls", &certificate, &key],
        vec![
            "create",
            "secret",
            "generic",
            "password",
            "--from-literal=a=b",
        ],
        vec!["create", "configmap", "settings", "--from-literal=a=b"],
        vec!["create", "serviceaccount", "robot"],
        vec!["create", "role", "reader", "--verb=get", "--resource=pods"],
        vec!["expose", "deployment", "web", "--name=exposed", "--port=80"],
        vec!["label", "configmap", "settings", "tier=one"],
        vec!["annotate", "configmap", "settings", "note=one"],
    ] {
        kubectl.run(&arguments).ok();
    }
    let ingress = kubectl.get_json(&["ingress", "web"]);
    assert_eq!(
        ingress["spec"]["rules"][0]["http"]["paths"][0]["pathType"],
        "Prefix"
    );
    let service = kubectl.get_json(&["service", "web"]);
    assert!(
        service["spec"]["clusterIP"]
            .as_str()
            .is_some_and(|ip| ip.starts_with("10.43.")),
        "{service}"
    );
    let secret = kubectl.get_json(&["secret", "web-tls"]);
    assert_eq!(secret["type"], "kubernetes.io/tls");
    let settings = kubectl.get_json(&["configmap", "settings"]);
    assert_eq!(settings["metadata"]["labels"]["tier"], "one");
}

pub(crate) fn patches_of_every_kind(stage: &Stage) {
    let kubectl = &stage.kubectl;
    kubectl.apply(DEPLOYMENT).ok();
    let strategic = r#"{"spec":{"template":{"spec":{"containers":[{"name":"echo","env":[{"name":"A","value":"1"}]}]}}}}"#;
    kubectl
        .run(&["patch", "deployment", "web", "-p", strategic])
        .ok();
    let merge = r#"{"metadata":{"labels":{"patched":"yes"}}}"#;
    kubectl
        .run(&["patch", "deployment", "web", "--type=merge", "-p", merge])
        .ok();
    let json = r#"[{"op":"replace","path":"/spec/replicas","value":3}]"#;
    kubectl
        .run(&["patch", "deployment", "web", "--type=json", "-p", json])
        .ok();
    let patched = kubectl.get_json(&["deployment", "web"]);
    let container = &patched["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        container["image"], "portcullis.dev/echo:1",
        "a strategic patch merges by name: {patched}"
    );
    assert_eq!(container["env"][0]["name"], "A");
    assert_eq!(patched["metadata"]["labels"]["patched"], "yes");
    assert_eq!(patched["spec"]["replicas"], 3);
}

pub(crate) fn edit_saves(stage: &Stage) {
    let kubectl = &stage.kubectl;
    kubectl
        .run(&[
            "create",
            "configmap",
            "settings",
            "--from-literal=colour=blue",
        ])
        .ok();
    kubectl.edit("configmap/settings", "blue", "green").ok();
    assert_eq!(
        kubectl.get_json(&["configmap", "settings"])["data"]["colour"],
        "green"
    );
}

pub(crate) fn apply_changes_only_what_changed(stage: &Stage) {
    let kubectl = &stage.kubectl;
    kubectl.apply(DEPLOYMENT).ok();
    kubectl
        .run(&["scale", "deployment", "web", "--replicas=1"])
        .ok();
    let with_label = DEPLOYMENT.replace(
        "labels: {app: web}}\nspec",
        "labels: {app: web, more: yes-please}}\nspec",
    );
    assert_ne!(with_label, DEPLOYMENT);
    assert_eq!(
        kubectl.apply(&with_label).ok(),
        "deployment.apps/web configured\n"
    );
    let web = kubectl.get_json(&["deployment", "web"]);
    assert_eq!(web["metadata"]["labels"]["more"], "yes-please");
    kubectl.apply(DEPLOYMENT).ok();
    let web = kubectl.get_json(&["deployment", "web"]);
    assert_eq!(
        web["metadata"]["labels"]["more"],
        serde_json::Value::Null,
        "what apply added, apply removes"
    );
    let diff = kubectl.run_with_input(&["diff", "-f", "-"], &with_label);
    assert_eq!(diff.code, Some(1), "{diff:?}");
}

pub(crate) fn scale_reaches_the_replica_set(stage: &Stage) {
    let kubectl = &stage.kubectl;
    kubectl.apply(DEPLOYMENT).ok();
    kubectl
        .run(&["scale", "deployment", "web", "--replicas=4"])
        .ok();
    eventually(SOON, || {
        let sets = kubectl.get_json(&["replicasets"]);
        let pods = kubectl.get_json(&["pods"]);
        let count = pods["items"].as_array().map_or(0, Vec::len);
        match (sets["items"][0]["spec"]["replicas"].as_i64(), count) {
            (Some(4), 4) => Ok(()),
            other => Err(format!("replicas and pods: {other:?}")),
        }
    });
    let wait = [
        "wait",
        "--for=jsonpath={.status.replicas}=4",
        "deployment/web",
        "--timeout=10s",
    ];
    kubectl.run(&wait).ok();
}

pub(crate) fn delete_takes_dependents_along(stage: &Stage) {
    let kubectl = &stage.kubectl;
    kubectl.apply(DEPLOYMENT).ok();
    eventually_some(SOON, || {
        let pods = kubectl.get_json(&["pods"]);
        (!pods["items"].as_array().is_none_or(Vec::is_empty))
            .then_some(())
            .ok_or("no pods yet".to_owned())
    });
    let said = kubectl.run(&["delete", "deployment", "web"]).ok();
    assert!(
        said.starts_with("deployment.apps \"web\" deleted"),
        "{said}"
    );
    eventually(Duration::from_secs(10), || {
        let left = kubectl.run(&["get", "replicasets,pods", "-o", "name"]).ok();
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

pub(crate) fn a_deleted_namespace_is_emptied(stage: &Stage) {
    let kubectl = &stage.kubectl;
    let doomed = kubectl.in_new_namespace("doomed");
    eventually(SOON, || {
        let account = doomed.run(&["get", "serviceaccount", "default"]);
        if account.success() {
            Ok(())
        } else {
            Err(account.stderr)
        }
    });
    doomed.apply(DEPLOYMENT).ok();
    kubectl
        .run(&["delete", "namespace", "doomed", "--timeout=30s"])
        .ok();
    let gone = doomed.run(&["get", "deployments", "-o", "name"]).ok();
    assert_eq!(gone, "");
}

fn certificate_files() -> (tempfile::NamedTempFile, tempfile::NamedTempFile) {
    let issued = certificate(&["web.test"]);
    let write = |text: &str| {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("it can be written");
        file
    };
    (write(&issued.certificate_pem), write(issued.key.pem()))
}
