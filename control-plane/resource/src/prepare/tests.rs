use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::codec::{FieldValidation, decode_value};
use crate::error::ApiError;
use crate::kind::{self, KindSpec, Subresource};

pub(super) fn context() -> WriteContext<'static> {
    WriteContext {
        now: Timestamp::from_second(1_700_000_000).unwrap(),
        uid: "uid-1",
        name_suffix: "x7k2b",
        name: "",
        user: "admin",
        default_ingress_class: None,
        allocated: Allocated::default(),
    }
}

pub(super) fn spec_of(name: &str) -> &'static KindSpec {
    kind::all()
        .find(|spec| spec.kind == name && spec.group != "events.k8s.io")
        .unwrap()
}

fn made(kind: &str, object: Value, context: &WriteContext<'_>) -> Result<Value, ApiError> {
    let kind = spec_of(kind);
    let decoded = decode_value(kind.root_type, &object, FieldValidation::Strict)?;
    create(
        kind,
        kind.namespaced.then_some("default"),
        decoded.object,
        context,
    )
}

fn stored(kind: &str, object: Value) -> Value {
    let mut object = made(kind, object, &context()).unwrap();
    object["metadata"]["resourceVersion"] = "5".into();
    object
}

fn deployment() -> Value {
    stored(
        "Deployment",
        json!({"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}}),
    )
}

fn pod() -> Value {
    stored(
        "Pod",
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}),
    )
}

#[test]
fn create_sets_what_the_server_owns() {
    let object = made(
        "ConfigMap",
        json!({"metadata": {"generateName": "a-", "uid": "mine", "managedFields": [{}]},
        "data": {"k": "v"}}),
        &context(),
    )
    .unwrap();
    assert_eq!(
        object,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "v"}, "metadata": {"name": "a-x7k2b",
            "generateName": "a-", "namespace": "default", "uid": "uid-1", "creationTimestamp": "2023-11-14T22:13:20Z"}})
    );
}

#[test]
fn create_refuses_other_namespaces_and_versions() {
    let error = made(
        "ConfigMap",
        json!({"metadata": {"name": "a", "namespace": "other"}}),
        &context(),
    );
    assert_eq!(error.unwrap_err().code(), 400);
    let error = made(
        "ConfigMap",
        json!({"metadata": {"name": "a", "resourceVersion": "3"}}),
        &context(),
    );
    assert_eq!(error.unwrap_err().code(), 400);
}

#[test]
fn generation_follows_the_spec_and_status_has_its_own_door() {
    let old = deployment();
    assert_eq!(old["metadata"]["generation"], 1);
    let kind = spec_of("Deployment");
    let mut new = old.clone();
    new["spec"]["replicas"] = 3.into();
    new["status"]["replicas"] = 9.into();
    let Updated::Write(written) = update(kind, None, &old, new, &context()).unwrap() else {
        panic!()
    };
    assert_eq!(written["metadata"]["generation"], 2);
    assert!(written["status"].get("replicas").is_none());
    let mut new = old.clone();
    new["spec"]["replicas"] = 3.into();
    new["status"]["replicas"] = 9.into();
    let status = Some(Subresource::Status);
    let Updated::Write(written) = update(kind, status, &old, new, &context()).unwrap() else {
        panic!()
    };
    assert_eq!(written["spec"], old["spec"]);
    assert_eq!(written["status"]["replicas"], 9);
    assert_eq!(written["metadata"]["generation"], 1);
    assert_eq!(
        update(kind, None, &old, old.clone(), &context()).unwrap(),
        Updated::Unchanged(old)
    );
}

#[test]
fn stale_versions_conflict_and_foreign_uids_too() {
    let old = deployment();
    let kind = spec_of("Deployment");
    let mut new = old.clone();
    new["metadata"]["resourceVersion"] = "4".into();
    assert_eq!(
        update(kind, None, &old, new, &context())
            .unwrap_err()
            .reason(),
        "Conflict"
    );
    let mut new = old.clone();
    new["metadata"]["uid"] = "other".into();
    assert_eq!(
        update(kind, None, &old, new, &context())
            .unwrap_err()
            .reason(),
        "Conflict"
    );
}

#[test]
fn the_last_finalizer_removes_a_deleted_object() {
    let mut old = stored(
        "ConfigMap",
        json!({"metadata": {"name": "a", "finalizers": ["x.io/y"]}}),
    );
    let kind = spec_of("ConfigMap");
    let decision = delete(kind, &old, &DeleteOptions::default(), &context()).unwrap();
    let DeleteDecision::MarkDeleting(marked) = decision else {
        panic!("{decision:?}")
    };
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 0);
    old = marked.clone();
    let again = delete(kind, &old, &DeleteOptions::default(), &context()).unwrap();
    assert_eq!(again, DeleteDecision::Unchanged(marked));
    let mut new = old.clone();
    new["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("finalizers");
    assert!(matches!(
        update(kind, None, &old, new, &context()).unwrap(),
        Updated::Remove(_)
    ));
}

#[test]
fn pods_wait_for_their_grace_once_they_have_a_node() {
    let kind = spec_of("Pod");
    let unbound = delete(kind, &pod(), &DeleteOptions::default(), &context()).unwrap();
    assert!(matches!(unbound, DeleteDecision::Remove(_)));
    let binding = json!({"target": {"kind": "Node", "name": "n1"}});
    let Updated::Write(bound) = bind(&pod(), &binding, &context()).unwrap() else {
        panic!()
    };
    assert_eq!(bound["status"]["conditions"][0]["type"], "PodScheduled");
    assert_eq!(
        bind(&bound, &binding, &context()).unwrap_err().reason(),
        "Conflict"
    );
    let decision = delete(kind, &bound, &DeleteOptions::default(), &context()).unwrap();
    let DeleteDecision::MarkDeleting(marked) = decision else {
        panic!("{decision:?}")
    };
    assert_eq!(
        marked["metadata"]["deletionTimestamp"],
        "2023-11-14T22:13:50Z"
    );
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(marked["metadata"]["generation"], 2);
    let longer = DeleteOptions {
        grace_period_s: Some(60),
        ..Default::default()
    };
    assert!(matches!(
        delete(kind, &marked, &longer, &context()).unwrap(),
        DeleteDecision::Unchanged(_)
    ));
    let shorter = DeleteOptions {
        grace_period_s: Some(5),
        ..Default::default()
    };
    let DeleteDecision::MarkDeleting(sooner) = delete(kind, &marked, &shorter, &context()).unwrap()
    else {
        panic!()
    };
    assert_eq!(
        sooner["metadata"]["deletionTimestamp"],
        "2023-11-14T22:13:25Z"
    );
    let now = DeleteOptions {
        grace_period_s: Some(0),
        ..Default::default()
    };
    assert!(matches!(
        delete(kind, &marked, &now, &context()).unwrap(),
        DeleteDecision::Remove(_)
    ));
}

#[test]
fn propagation_sets_the_collectors_finalizers() {
    let kind = spec_of("Deployment");
    let foreground = DeleteOptions {
        propagation: Some(Propagation::Foreground),
        ..Default::default()
    };
    let DeleteDecision::MarkDeleting(marked) =
        delete(kind, &deployment(), &foreground, &context()).unwrap()
    else {
        panic!()
    };
    assert_eq!(
        marked["metadata"]["finalizers"],
        json!(["foregroundDeletion"])
    );
    let background = DeleteOptions {
        propagation: Some(Propagation::Background),
        ..Default::default()
    };
    assert!(matches!(
        delete(kind, &marked, &background, &context()).unwrap(),
        DeleteDecision::Remove(_)
    ));
    let wrong = DeleteOptions {
        precondition_uid: Some("other".into()),
        ..Default::default()
    };
    assert_eq!(
        delete(kind, &deployment(), &wrong, &context())
            .unwrap_err()
            .reason(),
        "Conflict"
    );
}

#[test]
fn a_namespace_goes_when_its_finalizers_are_gone() {
    let kind = spec_of("Namespace");
    let old = stored("Namespace", json!({"metadata": {"name": "n"}}));
    assert_eq!(
        old["metadata"]["labels"]["kubernetes.io/metadata.name"],
        "n"
    );
    assert_eq!(old["spec"]["finalizers"], json!(["kubernetes"]));
    let DeleteDecision::MarkDeleting(marked) =
        delete(kind, &old, &DeleteOptions::default(), &context()).unwrap()
    else {
        panic!()
    };
    assert_eq!(marked["status"]["phase"], "Terminating");
    let mut same = marked.clone();
    same["metadata"]["annotations"] = json!({"a": "b"});
    assert!(matches!(
        update(kind, None, &marked, same, &context()).unwrap(),
        Updated::Write(_)
    ));
    let mut empty = marked.clone();
    empty["spec"]["finalizers"] = json!([]);
    let finalize = Some(Subresource::Finalize);
    assert!(matches!(
        update(kind, finalize, &marked, empty, &context()).unwrap(),
        Updated::Remove(_)
    ));
}

#[test]
fn scale_reads_and_writes_replicas() {
    let old = deployment();
    let kind = spec_of("Deployment");
    let mut scale = scale_of(kind, &old).unwrap();
    assert_eq!(scale["status"]["selector"], "app=web");
    scale["spec"]["replicas"] = 4.into();
    let Updated::Write(written) = update_scale(kind, &old, &scale, &context()).unwrap() else {
        panic!()
    };
    assert_eq!(written["spec"]["replicas"], 4);
    assert_eq!(written["metadata"]["generation"], 2);
    scale["spec"]["replicas"] = json!(-1);
    assert_eq!(
        update_scale(kind, &old, &scale, &context())
            .unwrap_err()
            .code(),
        422
    );
}

#[test]
fn services_take_addresses_and_keep_them() {
    let object =
        json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
    let need = service_need(None, &object);
    assert_eq!(
        (need.cluster_ips.as_slice(), need.node_ports),
        (&[IpFamily::Primary][..], 1)
    );
    let allocated = Allocated {
        cluster_ips: vec!["10.43.0.9".parse().unwrap()],
        node_ports: vec![30001],
    };
    let mut old = made(
        "Service",
        object,
        &WriteContext {
            allocated,
            ..context()
        },
    )
    .unwrap();
    old["metadata"]["resourceVersion"] = "5".into();
    assert_eq!(old["spec"]["clusterIP"], "10.43.0.9");
    assert_eq!(old["spec"]["ipFamilies"], json!(["IPv4"]));
    assert_eq!(old["spec"]["ports"][0]["nodePort"], 30001);
    let new = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"type": "NodePort", "ports": [{"port": 80, "targetPort": 81}]}, "status": {"loadBalancer": {}}});
    assert_eq!(service_need(Some(&old), &new), ServiceNeed::default());
    let Updated::Write(written) = update(spec_of("Service"), None, &old, new, &context()).unwrap()
    else {
        panic!()
    };
    assert_eq!(written["spec"]["clusterIPs"], json!(["10.43.0.9"]));
    assert_eq!(written["spec"]["ports"][0]["nodePort"], 30001);
}

#[test]
fn secrets_take_texts_and_pods_their_admission() {
    let secret = made(
        "Secret",
        json!({"metadata": {"name": "s"}, "stringData": {"a": "b"}}),
        &context(),
    )
    .unwrap();
    assert_eq!(secret["data"], json!({"a": "Yg=="}));
    assert_eq!(secret["type"], "Opaque");
    let pod = pod();
    assert_eq!(pod["spec"]["serviceAccountName"], "default");
    assert_eq!(pod["spec"]["tolerations"].as_array().unwrap().len(), 2);
    assert_eq!(
        pod["status"],
        json!({"phase": "Pending", "qosClass": "BestEffort"})
    );
}

#[test]
fn delete_options_are_checked() {
    let options = DeleteOptions::parse(
        &json!({"propagationPolicy": "Foreground", "gracePeriodSeconds": -1,
        "dryRun": ["All"], "preconditions": {"uid": "u"}}),
    )
    .unwrap();
    assert_eq!(options.propagation, Some(Propagation::Foreground));
    assert_eq!((options.grace_period_s, options.dry_run), (Some(1), true));
    for bad in [
        json!({"propagationPolicy": "Never"}),
        json!({"dryRun": ["Some"]}),
        json!({"propagationPolicy": "Orphan", "orphanDependents": true}),
    ] {
        assert_eq!(DeleteOptions::parse(&bad).unwrap_err().code(), 422);
    }
}
