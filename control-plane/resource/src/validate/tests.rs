use jiff::Timestamp;
use serde_json::{Value, json};

use crate::codec::{FieldValidation, decode_value};
use crate::error::ApiError;
use crate::kind;
use crate::prepare::{self, Allocated, WriteContext};

fn context() -> WriteContext<'static> {
    WriteContext {
        now: Timestamp::UNIX_EPOCH,
        uid: "uid-1",
        name_suffix: "x7k2b",
        name: "",
        user: "admin",
        default_ingress_class: None,
        allocated: Allocated {
            cluster_ips: vec!["10.43.0.2".parse().unwrap()],
            node_ports: vec![30000],
        },
    }
}

fn created(kind: &str, object: &Value) -> Result<Value, ApiError> {
    let spec = kind::all().find(|spec| spec.kind == kind).unwrap();
    let decoded = decode_value(spec.root_type, object, FieldValidation::Strict)?;
    prepare::create(
        spec,
        spec.namespaced.then_some("default"),
        decoded.object,
        &context(),
    )
}

/// Every fault, one line each.
fn faults(kind: &str, object: Value) -> Vec<String> {
    match created(kind, &object) {
        Ok(_) => Vec::new(),
        Err(ApiError::Invalid { errors, .. }) => errors.iter().map(ToString::to_string).collect(),
        Err(other) => panic!("{other}"),
    }
}

fn pod(spec: Value) -> Value {
    json!({"metadata": {"name": "p"}, "spec": spec})
}

fn deployment(selector: Value, labels: Value) -> Value {
    json!({"metadata": {"name": "web"}, "spec": {"selector": selector,
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

#[test]
fn names_say_what_is_wrong_with_them() {
    assert_eq!(
        faults("ConfigMap", json!({"metadata": {"name": "Bad_Name"}})),
        [
            "metadata.name: Invalid value: \"Bad_Name\": a lowercase RFC 1123 subdomain must consist of lower case \
          alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. \
          'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        ]
    );
    assert_eq!(
        faults("ConfigMap", json!({"metadata": {}})),
        ["metadata.name: Required value: name or generateName is required"]
    );
    assert!(
        faults(
            "Service",
            json!({"metadata": {"name": "1a"}, "spec": {"ports": [{"port": 1}]}})
        )[0]
        .contains("DNS-1035")
    );
    assert!(
        faults("Namespace", json!({"metadata": {"name": "a.b"}}))[0]
            .contains("must not contain dots")
    );
}

#[test]
fn a_deployments_selector_must_select_its_template() {
    assert!(
        faults(
            "Deployment",
            deployment(json!({"matchLabels": {"a": "b"}}), json!({"a": "b"}))
        )
        .is_empty()
    );
    assert_eq!(
        faults(
            "Deployment",
            deployment(json!({"matchLabels": {"a": "b"}}), json!({"a": "c"}))
        ),
        [
            "spec.template.metadata.labels: Invalid value: {\"a\":\"c\"}: `selector` does not match template `labels`"
        ]
    );
    assert_eq!(
        faults("Deployment", deployment(json!({}), json!({}))),
        ["spec.selector: Invalid value: {}: empty selector is invalid for deployment"]
    );
    let mut without = deployment(json!({}), json!({"a": "b"}));
    without["spec"].as_object_mut().unwrap().remove("selector");
    assert_eq!(
        faults("Deployment", without)[0],
        "spec.selector: Required value"
    );
    let mut once = deployment(json!({"matchLabels": {"a": "b"}}), json!({"a": "b"}));
    once["spec"]["template"]["spec"]["restartPolicy"] = "Never".into();
    once["spec"]["replicas"] = json!(-1);
    assert_eq!(
        faults("Deployment", once),
        [
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""
        ]
    );
}

#[test]
fn containers_are_checked_field_by_field() {
    assert_eq!(
        faults("Pod", pod(json!({"containers": []}))),
        ["spec.containers: Required value"]
    );
    let containers = json!([
        {"name": "a", "image": "i", "ports": [{"containerPort": 70000}, {"containerPort": 80, "name": "x"},
            {"containerPort": 81, "name": "x"}], "volumeMounts": [{"name": "gone", "mountPath": "/x"}],
         "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}, "livenessProbe": {"periodSeconds": -1},
         "env": [{"name": "a=b"}, {"name": "V", "valueFrom": {}}]},
        {"name": "a", "image": "", "imagePullPolicy": "Sometimes"},
    ]);
    assert_eq!(
        faults("Pod", pod(json!({"containers": containers}))),
        [
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            "spec.containers[0].ports[2].name: Duplicate value: \"x\"",
            "spec.containers[0].env[0].name: Invalid value: \"a=b\": a valid environment variable name must consist \
             only of printable ASCII characters other than '='",
            "spec.containers[0].env[1].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, \
             `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
            "spec.containers[0].volumeMounts[0].name: Not found: \"gone\"",
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
            "spec.containers[0].livenessProbe: Required value: must specify a handler type",
            "spec.containers[0].livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
            "spec.containers[1].image: Required value",
            "spec.containers[1].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \
             \"IfNotPresent\", \"Never\"",
            "spec.containers[1].name: Duplicate value: \"a\"",
        ]
    );
}

#[test]
fn volumes_have_exactly_one_source() {
    let volumes = json!([{"name": "a", "secret": {}}, {"name": "a", "configMap": {"name": "x"}, "emptyDir": {}}]);
    assert_eq!(
        faults(
            "Pod",
            pod(json!({"containers": [{"name": "c", "image": "i"}], "volumes": volumes}))
        ),
        [
            "spec.volumes[0].secret.secretName: Required value",
            "spec.volumes[1].name: Duplicate value: \"a\"",
            "spec.volumes[1].emptyDir: Forbidden: may not specify more than 1 volume type",
        ]
    );
}

#[test]
fn projected_tokens_live_long_enough_below_the_volume() {
    let faults_of = |token: Value| {
        let source = json!({"serviceAccountToken": token});
        let volumes = json!([{"name": "v", "projected": {"sources": [source]}}]);
        let containers = json!([{"name": "c", "image": "i:1"}]);
        faults(
            "Pod",
            pod(json!({"volumes": volumes, "containers": containers})),
        )
    };
    let at = "spec.volumes[0].projected.sources[0].serviceAccountToken";
    let none: [String; 0] = [];
    assert_eq!(faults_of(json!({"path": "a/token"})), none);
    assert_eq!(
        faults_of(json!({"path": "../t", "expirationSeconds": 599})),
        [
            format!(
                "{at}.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes"
            ),
            format!("{at}.path: Invalid value: \"../t\": must not contain '..'"),
        ]
    );
    let longest = 1_i64 << 32;
    assert_eq!(
        faults_of(json!({"path": "t", "expirationSeconds": longest})),
        none
    );
    assert_eq!(
        faults_of(json!({"path": "..t", "expirationSeconds": longest + 1})),
        [
            format!(
                "{at}.expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds"
            ),
            format!("{at}.path: Invalid value: \"..t\": must not start with '..'"),
        ]
    );
}

#[test]
fn services_need_ports_that_can_be_told_apart() {
    let service = |spec: Value| json!({"metadata": {"name": "s"}, "spec": spec});
    assert_eq!(
        faults("Service", service(json!({}))),
        ["spec.ports: Required value"]
    );
    assert!(faults("Service", service(json!({"clusterIP": "None"}))).is_empty());
    assert_eq!(
        faults(
            "Service",
            service(json!({"ports": [{"port": 0}, {"port": 80, "name": "a", "nodePort": 30001}]}))
        ),
        [
            "spec.ports[0].name: Required value",
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            "spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
            "spec.ports[1].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ]
    );
    assert_eq!(
        faults(
            "Service",
            service(json!({"type": "Magic", "ports": [{"port": 1}]}))
        ),
        [
            "spec.type: Unsupported value: \"Magic\": supported values: \"ClusterIP\", \"ExternalName\", \
          \"LoadBalancer\", \"NodePort\""
        ]
    );
}

#[test]
fn ingresses_say_which_path_or_backend_is_wrong() {
    let ingress = |spec: Value| json!({"metadata": {"name": "i"}, "spec": spec});
    assert_eq!(
        faults("Ingress", ingress(json!({}))),
        ["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"]
    );
    let paths = json!([
        {"path": "/", "backend": {"service": {"name": "s", "port": {"number": 80}}}},
        {"path": "x", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {}}}},
        {"path": "/", "pathType": "Exact", "backend": {"service": {"name": "", "port": {"name": "a", "number": 1}}}},
        {"path": "/", "pathType": "Odd", "backend": {}},
    ]);
    let spec = json!({"rules": [{"host": "1.2.3.4", "http": {"paths": paths}}], "tls": [{"hosts": ["A"]}]});
    let found = faults("Ingress", ingress(spec));
    let path = "spec.rules[0].http.paths";
    assert_eq!(
        found[..8],
        [
            "spec.rules[0].host: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address"
                .to_owned(),
            format!("{path}[0].pathType: Required value: pathType must be specified"),
            format!("{path}[1].path: Invalid value: \"x\": must be an absolute path"),
            format!("{path}[1].backend: Required value: port name or number is required"),
            format!("{path}[2].backend.service.name: Required value"),
            format!(
                "{path}[2].backend: Invalid value: \"\": cannot set both port name & port number"
            ),
            format!(
                "{path}[3].pathType: Unsupported value: \"Odd\": supported values: \"Exact\", \"ImplementationSpecific\", \"Prefix\""
            ),
            format!("{path}[3].backend: Required value: resource or service backend is required"),
        ]
    );
    assert!(
        found[8].starts_with("spec.tls[0].hosts[0]: Invalid value: \"A\""),
        "{}",
        found[8]
    );
}

#[test]
fn secrets_carry_what_their_type_promises() {
    let secret = json!({"metadata": {"name": "s"}, "type": "kubernetes.io/tls", "data": {"tls.crt": "YQ=="}});
    assert_eq!(faults("Secret", secret), ["data[tls.key]: Required value"]);
    let secret = json!({"metadata": {"name": "s"}, "data": {"a/b": "YQ=="}});
    assert!(
        faults("Secret", secret)[0]
            .starts_with("data[a/b]: Invalid value: \"a/b\": a valid config key")
    );
    let docker = json!({"metadata": {"name": "s"}, "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": "YQ=="}});
    assert!(faults("Secret", docker)[0].contains("<secret contents redacted>"));
}

#[test]
fn what_may_not_change_does_not() {
    let cases = [
        (
            "Deployment",
            deployment(
                json!({"matchLabels": {"a": "b"}}),
                json!({"a": "b", "c": "d"}),
            ),
            "/spec/selector/matchLabels/c",
            json!("d"),
            "spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\",\"c\":\"d\"}}: field is immutable",
        ),
        (
            "Secret",
            json!({"metadata": {"name": "s"}}),
            "/type",
            json!("other"),
            "type: Invalid value: \"other\": field is immutable",
        ),
        (
            "ConfigMap",
            json!({"metadata": {"name": "s"}, "immutable": true, "data": {"a": "b"}}),
            "/data/a",
            json!("c"),
            "data: Forbidden: field is immutable when `immutable` is set",
        ),
        (
            "Service",
            json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 1}]}}),
            "/spec/clusterIP",
            json!("10.43.0.3"),
            "spec.clusterIPs[0]: Invalid value: [\"10.43.0.3\"]: may not change once set",
        ),
        (
            "Pod",
            pod(json!({"containers": [{"name": "c", "image": "i"}]})),
            "/spec/hostNetwork",
            json!(true),
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`",
        ),
        (
            "RoleBinding",
            json!({"metadata": {"name": "r"}, "roleRef": {"kind": "Role", "name": "a"}}),
            "/roleRef/name",
            json!("b"),
            "roleRef: Invalid value: {\"apiGroup\":\"rbac.authorization.k8s.io\",\"kind\":\"Role\",\"name\":\"b\"}: cannot change roleRef",
        ),
    ];
    for (kind, object, pointer, value, expected) in cases {
        let old = created(kind, &object).unwrap();
        let mut new = old.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        new.pointer_mut(parent).unwrap()[key] = value;
        let spec = kind::all().find(|spec| spec.kind == kind).unwrap();
        let error = prepare::update(spec, None, &old, new, &context()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_pods_image_may_change() {
    let old = created(
        "Pod",
        &pod(json!({"containers": [{"name": "c", "image": "i"}]})),
    )
    .unwrap();
    let mut new = old.clone();
    new["spec"]["containers"][0]["image"] = "j".into();
    let spec = kind::by_kind("", "v1", "Pod").unwrap();
    let updated = prepare::update(spec, None, &old, new, &context()).unwrap();
    assert!(matches!(updated, prepare::Updated::Write(new) if new["metadata"]["generation"] == 2));
}
