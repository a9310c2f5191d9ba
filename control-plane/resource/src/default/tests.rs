use serde_json::{Value, json};

use super::apply;
use crate::kind;

fn defaulted(group: &str, version: &str, kind: &str, mut object: Value) -> Value {
    let spec = kind::by_kind(group, version, kind).unwrap();
    apply(spec, &mut object);
    let once = object.clone();
    apply(spec, &mut object);
    assert_eq!(object, once, "defaulting twice changes nothing");
    once
}

#[test]
fn a_deployment_gets_upstreams_defaults() {
    let container = json!({"name": "a", "image": "nginx", "ports": [{"containerPort": 80}],
        "livenessProbe": {"httpGet": {"port": 80}}, "resources": {"limits": {"cpu": "1"}}});
    let template =
        json!({"metadata": {}, "spec": {"containers": [container], "volumes": [{"name": "v"}]}});
    let object = defaulted(
        "apps",
        "v1",
        "Deployment",
        json!({"spec": {"template": template}}),
    );
    let spec = &object["spec"];
    assert_eq!(spec["replicas"], 1);
    assert_eq!(spec["progressDeadlineSeconds"], 600);
    assert_eq!(
        spec["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
    );
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["dnsPolicy"], "ClusterFirst");
    assert_eq!(pod["volumes"], json!([{"name": "v", "emptyDir": {}}]));
    assert!(
        pod.get("enableServiceLinks").is_none(),
        "templates are not pods"
    );
    let container = &pod["containers"][0];
    assert_eq!(container["imagePullPolicy"], "Always");
    assert_eq!(container["ports"][0]["protocol"], "TCP");
    assert_eq!(
        container["livenessProbe"],
        json!({"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3})
    );
    assert!(container["resources"].get("requests").is_none());
}

#[test]
fn a_pods_requests_follow_its_limits_and_its_tag_decides_pulling() {
    let container =
        json!({"name": "a", "image": "registry:5000/a:1", "resources": {"limits": {"cpu": "1"}}});
    let pod = defaulted(
        "",
        "v1",
        "Pod",
        json!({"spec": {"containers": [container]}}),
    );
    assert_eq!(
        pod["spec"]["containers"][0]["resources"]["requests"],
        json!({"cpu": "1"})
    );
    assert_eq!(
        pod["spec"]["containers"][0]["imagePullPolicy"],
        "IfNotPresent"
    );
    assert_eq!(pod["spec"]["enableServiceLinks"], true);
}

#[test]
fn a_service_gets_type_affinity_and_target_ports() {
    let service = defaulted(
        "",
        "v1",
        "Service",
        json!({"spec": {"ports": [{"port": 80}]}}),
    );
    assert_eq!(
        service["spec"],
        json!({"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]})
    );
}

#[test]
fn subjects_and_roles_get_their_group() {
    let object = json!({"roleRef": {"kind": "ClusterRole", "name": "x"},
        "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s"}]});
    let object = defaulted(
        "rbac.authorization.k8s.io",
        "v1",
        "ClusterRoleBinding",
        object,
    );
    assert_eq!(object["roleRef"]["apiGroup"], "rbac.authorization.k8s.io");
    assert_eq!(
        object["subjects"][0]["apiGroup"],
        "rbac.authorization.k8s.io"
    );
    assert!(object["subjects"][1].get("apiGroup").is_none());
}
