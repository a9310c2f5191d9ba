//! A pod and the API server: who it is there, how it finds it, and how long that lasts.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_conformance::{Answer, Curl, Stage, eventually, eventually_some};
use serde_json::Value;

/// The controller is an API client like any other: in a pod it has nothing but what every pod is given. That it took its
/// Lease proves address, authority, token and file modes at once.
pub fn a_pod_talks_to_the_api_as_its_service_account(stage: &Stage) {
    stage.kubectl.apply(CLIENT).ok();
    let holder = eventually_some(Duration::from_secs(60), || {
        let lease = stage.kubectl.run(&["get", "lease", "taken", "-o", "json"]);
        let said = format!("{}{}", lease.stdout, lease.stderr);
        let lease: Value = serde_json::from_str(&lease.stdout).map_err(|_| said)?;
        let holder = lease["spec"]["holderIdentity"].as_str();
        holder.map(str::to_owned).ok_or_else(|| lease.to_string())
    });
    assert!(holder.starts_with("client-"), "{holder}");
    let files = api_access(stage);
    let token = std::fs::metadata(files.join("token")).expect("a token");
    assert_eq!((token.mode() & 0o777, token.uid()), (0o600, 65_532));
    let namespace = std::fs::read_to_string(files.join("namespace"));
    assert_eq!(
        namespace.expect("a namespace"),
        "a-pod-talks-to-the-api-as-its-service-account"
    );
    let pods = format!("/api/v1/namespaces/{}/pods", namespace_of(stage));
    let token = std::fs::read_to_string(files.join("token")).expect("a token");
    for host in ["kubernetes.default.svc", "kubernetes", "10.43.0.1"] {
        let answer = ask(host, &pods, &token, &files.join("ca.crt"));
        assert_eq!(answer.status, 200, "{host}: {}", answer.notes);
    }
    stage
        .kubectl
        .run(&["delete", "pod", "client", "--timeout=40s"])
        .ok();
    let authority = stage.cluster.data_dir().join("pki/ca.crt");
    let answer = ask("kubernetes", &pods, &token, &authority);
    assert_eq!(answer.status, 401, "the token outlived its pod");
}

pub fn create_token_gives_what_was_asked_for(stage: &Stage) {
    let authority = stage.cluster.data_dir().join("pki/ca.crt");
    stage
        .kubectl
        .run(&["create", "serviceaccount", "robot"])
        .ok();
    let create = |more: &[&str]| {
        let arguments = [&["create", "token", "robot"], more].concat();
        stage.kubectl.run(&arguments).ok().trim().to_owned()
    };
    let asked = |token: &str| ask("kubernetes", "/version", token, &authority).status;
    assert_eq!(asked(&create(&["--duration=10m"])), 200);
    assert_eq!(asked(&create(&["--audience=elsewhere"])), 401);
    stage
        .kubectl
        .run(&["create", "secret", "generic", "binding"])
        .ok();
    let bound = create(&["--bound-object-kind=Secret", "--bound-object-name=binding"]);
    assert_eq!(asked(&bound), 200);
    stage.kubectl.run(&["delete", "secret", "binding"]).ok();
    assert_eq!(asked(&bound), 401);
    let brief = ["create", "token", "robot", "--duration=1m"];
    let refused = stage.kubectl.run(&brief).refused();
    assert!(
        refused.contains("may not specify a duration less than 10 minutes"),
        "{refused}"
    );
}

pub fn the_authority_is_in_every_namespace_and_comes_back(stage: &Stage) {
    let authority = std::fs::read_to_string(stage.cluster.data_dir().join("pki/ca.crt"));
    let authority = authority.expect("the cluster's authority");
    let published = || {
        let arguments = ["get", "configmap", "kube-root-ca.crt", "-o", "json"];
        let found = stage.kubectl.run(&arguments);
        let map: Value = serde_json::from_str(&found.stdout).map_err(|_| found.stderr)?;
        match map["data"]["ca.crt"].as_str() == Some(&authority) {
            true => Ok(()),
            false => Err(map.to_string()),
        }
    };
    eventually(SOON, published);
    let delete = ["delete", "configmap", "kube-root-ca.crt"];
    stage.kubectl.run(&delete).ok();
    eventually(SOON, published);
    let forged = r#"{"data":{"ca.crt":"forged"}}"#;
    let patch = ["patch", "configmap", "kube-root-ca.crt", "-p", forged];
    stage.kubectl.run(&patch).ok();
    eventually(SOON, published);
}

/// What the kubelet keeps of the volume that admission gave to the pod.
fn api_access(stage: &Stage) -> PathBuf {
    let pod = stage.kubectl.get_json(&["pod", "client"]);
    let volumes = pod["spec"]["volumes"].as_array();
    let mut names = volumes.into_iter().flatten().filter_map(|volume| {
        let name = volume["name"].as_str()?;
        name.starts_with("kube-api-access-").then_some(name)
    });
    let name = names.next().unwrap_or_else(|| panic!("no volume in {pod}"));
    let uid = pod["metadata"]["uid"].as_str().expect("a uid");
    let pods = stage.cluster.data_dir().join("node/pods");
    pods.join(uid).join("volumes").join(name)
}

fn namespace_of(stage: &Stage) -> String {
    let pod = stage.kubectl.get_json(&["pod", "client"]);
    pod["metadata"]["namespace"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// From this machine to the address that pods use.
fn ask(host: &str, path: &str, token: &str, authority: &Path) -> Answer {
    let at = SocketAddr::from(([10, 43, 0, 1], 443));
    Curl::get(&format!("https://{host}{path}"), at)
        .with(&["--cacert", &authority.display().to_string()])
        .header(&format!("authorization: Bearer {token}"))
        .send()
}

const SOON: Duration = Duration::from_secs(10);

const CLIENT: &str = "\
apiVersion: v1
kind: ServiceAccount
metadata: {name: client}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: a-pod-talks-to-the-api}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: client, namespace: a-pod-talks-to-the-api-as-its-service-account}]
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  serviceAccountName: client
  securityContext: {runAsUser: 65532, runAsNonRoot: true}
  terminationGracePeriodSeconds: 5
  containers:
  - name: client
    image: portcullis.dev/echo:1
    command:
    - /portcullis
    - controller
    - --listen=[::]:0
    - --healthz-port=0
    - --pki-dir=/pki
    - --controller-class=portcullis.test/none
    - --ingress-class=none
    - --update-status=false
    - --election-id=taken
    env:
    - {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
    securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
    volumeMounts: [{name: pki, mountPath: /pki}]
  volumes: [{name: pki, emptyDir: {}}]
";
