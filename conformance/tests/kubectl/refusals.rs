//! What the API server refuses, in the words kubectl shows.

use portcullis_conformance::Stage;

use crate::DEPLOYMENT;

pub(crate) fn unknown_fields_are_refused(stage: &Stage) {
    let kubectl = &stage.kubectl;
    let error = kubectl
        .apply(&DEPLOYMENT.replace("replicas: 2", "replicaz: 2"))
        .refused();
    assert!(
        error.contains("strict decoding error: unknown field \"spec.replicaz\""),
        "{error}"
    );
}

pub(crate) fn invalid_objects_name_the_field(stage: &Stage) {
    let kubectl = &stage.kubectl;
    let error = kubectl
        .apply(&DEPLOYMENT.replace("replicas: 2", "replicas: -2"))
        .refused();
    assert!(
        error.contains("spec.replicas: Invalid value: -2"),
        "{error}"
    );
    let error = kubectl
        .apply(&DEPLOYMENT.replace("name: web, labels", "name: Web, labels"))
        .refused();
    assert!(
        error.contains("metadata.name: Invalid value: \"Web\""),
        "{error}"
    );
    let error = kubectl
        .run(&["create", "ingress", "web", "--rule=a_b.test/=web:80"])
        .refused();
    assert!(
        error.contains("spec.rules[0].host: Invalid value: \"a_b.test\""),
        "{error}"
    );
    let error = kubectl
        .apply(
            "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 70000}]}",
        )
        .refused();
    assert!(
        error.contains("spec.ports[0].port: Invalid value: 70000"),
        "{error}"
    );
}

pub(crate) fn malformed_manifests_are_refused(stage: &Stage) {
    let kubectl = &stage.kubectl;
    let error = kubectl
        .apply(&DEPLOYMENT.replace("replicas: 2", "replicas: two"))
        .refused();
    assert!(error.contains("spec.replicas"), "{error}");
    let error = kubectl
        .apply("apiVersion: apps/v1\nkind: Nothing\nmetadata: {name: a}")
        .refused();
    assert!(
        error.contains("no matches for kind \"Nothing\" in version \"apps/v1\""),
        "{error}"
    );
    let raw = [
        "create",
        "--raw",
        "/api/v1/namespaces/default/configmaps",
        "-f",
        "-",
    ];
    let error = kubectl.run_with_input(&raw, "{\"kind\":").refused();
    assert!(
        error.contains("BadRequest") || error.contains("malformed"),
        "{error}"
    );
}

pub(crate) fn conflicts_and_absences_are_told(stage: &Stage) {
    let kubectl = &stage.kubectl;
    let error = kubectl.run(&["get", "configmap", "absent"]).refused();
    assert_eq!(
        error.trim(),
        "Error from server (NotFound): configmaps \"absent\" not found"
    );
    kubectl.run(&["create", "configmap", "twice"]).ok();
    let error = kubectl.run(&["create", "configmap", "twice"]).refused();
    assert!(
        error.contains("configmaps \"twice\" already exists"),
        "{error}"
    );
    let stale = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: twice, resourceVersion: '1'}";
    let error = kubectl
        .run_with_input(&["replace", "-f", "-"], stale)
        .refused();
    assert!(error.contains("(Conflict)"), "{error}");
    let error = kubectl
        .within("nowhere")
        .run(&["create", "configmap", "a"])
        .refused();
    assert!(
        error.contains("namespaces \"nowhere\" not found"),
        "{error}"
    );
}
