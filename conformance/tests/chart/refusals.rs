//! Values that would not do what they say.

use portcullis_conformance::{Helm, chart};

pub(crate) fn a_value_of_the_wrong_type_is_named() {
    expect("controller.replicaCount=many", "/controller/replicaCount");
    expect("controlPlane.replicas=2", "'replicas'");
    expect("controller.kind=StatefulSet", "/controller/kind");
    expect("rbac.secrets=some", "/rbac/secrets");
}

pub(crate) fn ingress_nginx_is_not_installed_by_mistake() {
    expect(
        "controller.image.repository=registry.k8s.io/ingress-nginx/controller",
        "is ingress-nginx and not Portcullis",
    );
    expect(
        "global.image.registry=registry.k8s.io",
        "is ingress-nginx and not Portcullis",
    );
    expect(
        "controller.image.tag=v1.15.1",
        "a version of ingress-nginx and not of Portcullis",
    );
}

pub(crate) fn what_would_let_more_in_is_refused() {
    let range = "controller.config.whitelist-source-range=192.0.2.0/24";
    expect(range, "controller.config.whitelist-source-range");
    expect(
        "controller.scope.namespaceSelector=team=a",
        "namespaceSelector",
    );
    expect("rbac.scope=true", "controller.scope.enabled");
    expect(
        "serviceAccount.name=front-portcullis-proxy",
        "would have the controller's rights",
    );
    expect("controller.name=controller", "name two workloads");
    let accepted = template(&[range, "controller.unsupported=serve"]).ok();
    assert!(accepted.contains("--unsupported=serve"), "{accepted}");
}

pub(crate) fn the_chart_has_no_faults_for_lint() {
    let chart = chart().display().to_string();
    let report = Helm::alone().run(&["lint", "--strict", &chart]).ok();
    assert!(!report.contains("[WARNING]"), "{report}");
}

#[track_caller]
fn expect(value: &str, sentence: &str) {
    let complaint = template(&[value]).refused();
    assert!(complaint.contains(sentence), "{value}: {complaint}");
}

fn template(values: &[&str]) -> portcullis_conformance::Output {
    let chart = chart().display().to_string();
    let mut arguments = vec!["template", "front", &chart, "--kube-version=1.37.0"];
    for value in values {
        arguments.extend(["--set", value]);
    }
    Helm::alone().run(&arguments)
}
