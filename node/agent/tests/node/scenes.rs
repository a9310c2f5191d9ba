//! What is played, in order, on one node.

use crate::parts;
use crate::stage::{Stage, condition, get, until, within};
use crate::volumes;
use futures::FutureExt;
use portcullis_agent::Running;
use serde_json::json;
use std::path::Path;
use std::time::Instant;

/// Why this machine cannot play it.
pub fn unsupported() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("pods need root".into());
    }
    let programs = [
        "/usr/bin/containerd",
        "/usr/sbin/runc",
        "/usr/sbin/nft",
        "/usr/lib/cni/ptp",
    ];
    let missing = programs
        .iter()
        .find(|program| !Path::new(program).exists())?;
    Some(format!("{missing} is not installed"))
}

pub async fn all() -> usize {
    let stage = Stage::new();
    stage.leave_a_lost_link();
    let mut running = stage.start().await;
    within(20, "the node is ready", async { running.ready().await }).await;
    let scenes: &[fn(&Stage)] = &[
        a_pod_becomes_ready_and_answers,
        a_service_reaches_it_and_refuses_without_endpoints,
        a_pod_can_live_in_the_hosts_network,
        a_crashing_container_is_restarted_and_backed_off,
        a_pod_that_may_not_restart_succeeds,
        what_keeps_a_pod_from_starting_is_told,
        parts::volumes_are_mounted_in_parts_and_the_nodes_files_read_only,
        parts::a_command_can_be_a_probe,
        parts::a_deletion_interrupts_a_pull,
        parts::a_pull_uses_the_pods_credentials,
        parts::a_runtime_that_dies_is_started_again,
        volumes::follow_their_objects_and_renew_tokens_when_due,
        volumes::tokens_are_for_whom_the_pod_runs_as,
        a_deleted_pod_leaves_the_api_last,
    ];
    let played = async {
        scenes.iter().for_each(|scene| scene(&stage));
        logs_are_served_to_the_api_server_alone(&stage, &running).await;
        parts::a_large_log_is_rotated(&stage);
        a_guest_at_its_runtime_ends_only_its_own_pods(&stage).await;
    };
    let played = std::panic::AssertUnwindSafe(played).catch_unwind().await;
    if let Err(failure) = played {
        stage.tell();
        // Whatever failed, the machine is left as it was found.
        running.stop().await;
        std::panic::resume_unwind(failure);
    }
    let running = a_killed_node_finds_its_pods_running(&stage, running).await;
    a_stopped_node_leaves_nothing_and_finds_its_pods_again(&stage, running).await;
    scenes.len() + 5
}

fn a_pod_becomes_ready_and_answers(stage: &Stage) {
    let map = json!({"metadata": {"name": "settings", "namespace": "default"}, "data": {"colour": "green"}});
    stage
        .api
        .put("/api/v1/namespaces/default/configmaps/settings", map);
    let begun = Instant::now();
    let path = stage.apply("web", json!({
        "nodeName": "stage",
        "terminationGracePeriodSeconds": 1,
        "volumes": [{"name": "settings", "configMap": {"name": "settings"}}],
        "containers": [{
            "name": "echo",
            "image": "portcullis.dev/echo:1",
            "ports": [{"name": "http", "containerPort": 8080}],
            "readinessProbe": {"httpGet": {"port": "http", "path": "/ready"}},
            "volumeMounts": [{"name": "settings", "mountPath": "/settings"}],
            "env": [
                {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}},
                {"name": "GREETING", "value": "a $(COLOUR) day"},
            ],
        }],
    }));
    until("web is ready", || {
        condition(&stage.pod(&path), "Ready") == Some("True".into())
    });
    println!("pod ready in {:?}", begun.elapsed());
    let pod = stage.pod(&path);
    assert_eq!(pod["status"]["phase"], "Running");
    let ip = pod["status"]["podIP"].as_str().unwrap().to_owned();
    let variables = get(&format!("{ip}:8080"), "/").unwrap();
    for expected in [
        format!("POD_IP={ip}"),
        "COLOUR=green".into(),
        "GREETING=a green day".into(),
        "HOSTNAME=web".into(),
        "KUBERNETES_SERVICE_HOST=10.143.0.1".into(),
        "KUBERNETES_SERVICE_PORT=443".into(),
    ] {
        assert!(variables.contains(&expected), "{expected} in {variables}");
    }
    assert_eq!(
        get(&format!("{ip}:8080"), "/file/settings/colour").unwrap(),
        "green"
    );
    assert!(
        get(&format!("{ip}:8080"), "/file/etc/hosts")
            .unwrap()
            .contains(&format!("{ip}\tweb"))
    );
    let image = "Container image \"portcullis.dev/echo:1\" already present on machine";
    for (reason, message) in [
        ("Pulled", image),
        ("Created", "Created container: echo"),
        ("Started", "Started container echo"),
    ] {
        until(reason, || stage.told("web", reason, message) == Some(1));
    }
}

fn a_service_reaches_it_and_refuses_without_endpoints(stage: &Stage) {
    let ip = stage.pod("/api/v1/namespaces/default/pods/web")["status"]["podIP"]
        .as_str()
        .unwrap()
        .to_owned();
    let service = |name: &str, ip: &str| json!({"metadata": {"name": name, "namespace": "default"}, "spec": {"clusterIP": ip, "clusterIPs": [ip], "ports": [{"port": 80, "protocol": "TCP"}]}});
    stage.api.put(
        "/api/v1/namespaces/default/services/web",
        service("web", "10.143.0.9"),
    );
    stage.api.put(
        "/api/v1/namespaces/default/services/empty",
        service("empty", "10.143.0.8"),
    );
    let labels = json!({"kubernetes.io/service-name": "web"});
    let slice = json!({
        "metadata": {"name": "web-1", "namespace": "default", "labels": labels},
        "addressType": "IPv4",
        "ports": [{"port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [ip], "conditions": {"ready": true}}],
    });
    stage.api.put(
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/web-1",
        slice,
    );
    until("the Service answers", || {
        get("10.143.0.9:80", "/").is_ok_and(|body| body.contains(&ip))
    });
    let refused = get("10.143.0.8:80", "/").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

fn a_pod_can_live_in_the_hosts_network(stage: &Stage) {
    let port = std::net::TcpListener::bind("[::]:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let path = stage.apply(
        "onhost",
        json!({
            "nodeName": "stage",
            "hostNetwork": true,
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "echo",
                "image": "portcullis.dev/echo:1",
                "env": [{"name": "PORT", "value": port.to_string()}],
                "resources": {"limits": {"memory": "64Mi", "cpu": "500m"}},
                "securityContext": {"runAsNonRoot": true, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
                "readinessProbe": {"tcpSocket": {"port": port}},
            }],
        }),
    );
    until("onhost is ready", || {
        condition(&stage.pod(&path), "Ready") == Some("True".into())
    });
    let status = stage.pod(&path)["status"].clone();
    assert_eq!(status["podIP"], status["hostIP"]);
    assert!(get(&format!("127.0.0.1:{port}"), "/").is_ok());
    stage.api.delete(&path, 0);
    until("onhost is gone", || stage.api.get(&path).is_none());
    until("its end is told", || {
        stage.told("onhost", "Killing", "Stopping container echo") == Some(1)
    });
}

async fn logs_are_served_to_the_api_server_alone(stage: &Stage, running: &Running) {
    let address = running.kubelet_address().unwrap();
    let path = "/containerLogs/default/web/echo?tailLines=1&limitBytes=9";
    let (status, body) = stage
        .credentials
        .get(address, "kube-apiserver-kubelet-client", path)
        .await
        .unwrap();
    assert_eq!((status, body.as_str()), (200, "request /"));
    let (status, all) = stage
        .credentials
        .get(
            address,
            "kube-apiserver-kubelet-client",
            "/containerLogs/default/web/echo",
        )
        .await
        .unwrap();
    assert_eq!(status, 200);
    assert!(
        all.contains("listening on 8080\n") && all.contains("to stderr\n"),
        "{all}"
    );
    let (status, _) = stage
        .credentials
        .get(address, "somebody", path)
        .await
        .unwrap();
    assert_eq!(status, 403);
    let (status, _) = stage
        .credentials
        .get(
            address,
            "kube-apiserver-kubelet-client",
            "/containerLogs/default/web/none",
        )
        .await
        .unwrap();
    assert_eq!(status, 404);
}

/// A second node that uses the first one's runtime: what it leaves when it stops is the first one's, unharmed.
async fn a_guest_at_its_runtime_ends_only_its_own_pods(host: &Stage) {
    let guest = Stage::new();
    let mut config = guest.config("guest");
    let socket = host.directory.path().join("containerd/containerd.sock");
    config.runtime_endpoint = Some(format!("unix://{}", socket.display()));
    let running = portcullis_agent::start(config).await.unwrap();
    let path = guest.apply(
        "visitor",
        json!({
            "nodeName": "guest",
            "containers": [{"name": "echo", "image": "portcullis.dev/echo:1"}],
        }),
    );
    let address = |stage: &Stage, path: &str| {
        let ip = stage.pod(path)["status"]["podIP"].as_str()?.to_owned();
        Some(format!("{ip}:8080"))
    };
    let played = std::panic::AssertUnwindSafe(async {
        until("the visitor answers", || {
            address(&guest, &path).is_some_and(|address| get(&address, "/").is_ok())
        });
    });
    let played = played.catch_unwind().await;
    running.stop().await;
    if let Err(failure) = played {
        std::panic::resume_unwind(failure);
    }
    assert!(get(&address(&guest, &path).unwrap(), "/").is_err());
    let web = "/api/v1/namespaces/default/pods/web";
    assert!(get(&address(host, web).unwrap(), "/").is_ok());
    assert_eq!(
        host.pod(web)["status"]["containerStatuses"][0]["restartCount"],
        0
    );
}

/// Dropped without a stop, the node is as if killed: containerd and the pods live on, and the next start takes them over.
async fn a_killed_node_finds_its_pods_running(stage: &Stage, running: Running) -> Running {
    let path = "/api/v1/namespaces/default/pods/web";
    let id = || stage.pod(path)["status"]["containerStatuses"][0]["containerID"].clone();
    let before = id();
    drop(running);
    let mut running = stage.start().await;
    within(20, "the node is ready again", async {
        running.ready().await
    })
    .await;
    let ip = stage.pod(path)["status"]["podIP"]
        .as_str()
        .unwrap()
        .to_owned();
    until("the pod still answers", || {
        get(&format!("{ip}:8080"), "/").is_ok()
    });
    assert_eq!(id(), before, "the same container");
    assert_eq!(
        stage.pod(path)["status"]["containerStatuses"][0]["restartCount"],
        0
    );
    running
}

fn a_crashing_container_is_restarted_and_backed_off(stage: &Stage) {
    let path = stage.apply("crash", json!({
        "nodeName": "stage",
        "containers": [{"name": "echo", "image": "portcullis.dev/echo:1", "env": [{"name": "EXIT", "value": "3"}]}],
    }));
    let status = || stage.pod(&path)["status"]["containerStatuses"][0].clone();
    until("it is backed off", || {
        status()["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    });
    let status = status();
    assert_eq!(status["restartCount"], 1);
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 3);
    until("the second start is counted", || {
        stage.told("crash", "Started", "Started container echo") == Some(2)
    });
    let message = "Back-off restarting failed container echo in pod crash_default(uid-crash)";
    until("the wait is told", || {
        stage.told("crash", "BackOff", message) == Some(1)
    });
    stage.api.delete(&path, 0);
    until("it is gone", || stage.api.get(&path).is_none());
}

fn a_pod_that_may_not_restart_succeeds(stage: &Stage) {
    let path = stage.apply("once", json!({
        "nodeName": "stage",
        "restartPolicy": "Never",
        "initContainers": [{"name": "first", "image": "portcullis.dev/echo:1", "env": [{"name": "EXIT", "value": "0"}]}],
        "containers": [{"name": "echo", "image": "portcullis.dev/echo:1", "env": [{"name": "EXIT", "value": "0"}]}],
    }));
    until("it succeeds", || {
        stage.pod(&path)["status"]["phase"] == "Succeeded"
    });
    assert_eq!(
        stage.pod(&path)["status"]["initContainerStatuses"][0]["ready"],
        true
    );
}

fn what_keeps_a_pod_from_starting_is_told(stage: &Stage) {
    let path = stage.apply("kept", json!({
        "nodeName": "stage",
        "volumes": [{"name": "absent", "configMap": {"name": "absent"}}],
        "containers": [
            {"name": "never", "image": "portcullis.dev/none:1", "imagePullPolicy": "Never"},
            {"name": "mount", "image": "portcullis.dev/echo:1", "volumeMounts": [{"name": "absent", "mountPath": "/a"}]},
        ],
    }));
    let image =
        "Container image \"portcullis.dev/none:1\" is not present with pull policy of Never";
    let mount = "MountVolume.SetUp failed for volume \"absent\" : configmap \"absent\" not found";
    for (reason, message) in [
        ("ErrImageNeverPull", image),
        ("Failed", "Error: ErrImageNeverPull"),
        ("FailedMount", mount),
    ] {
        until(reason, || stage.told("kept", reason, message).is_some());
    }
    until("it is still being created", || {
        stage.pod(&path)["status"]["containerStatuses"][1]["state"]["waiting"]["reason"]
            == "ContainerCreating"
    });
    stage.api.delete(&path, 0);
    until("kept is gone", || stage.api.get(&path).is_none());
}

fn a_deleted_pod_leaves_the_api_last(stage: &Stage) {
    let path = "/api/v1/namespaces/default/pods/once";
    stage.api.delete(path, 30);
    until("it is gone", || stage.api.get(path).is_none());
    let logs = std::fs::read_dir(stage.directory.path().join("logs"))
        .unwrap()
        .flatten();
    assert!(
        logs.into_iter()
            .all(|entry| !entry.file_name().to_string_lossy().contains("_once_"))
    );
}

async fn a_stopped_node_leaves_nothing_and_finds_its_pods_again(stage: &Stage, running: Running) {
    let path = "/api/v1/namespaces/default/pods/web";
    let begun = Instant::now();
    running.stop().await;
    println!("node stopped in {:?}", begun.elapsed());
    for kind in ["Ready", "ContainersReady"] {
        let claim = condition(&stage.pod(path), kind);
        assert_eq!(claim.as_deref(), Some("False"), "{kind}");
    }
    let directory = stage.directory.path().display().to_string();
    let processes = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains(&directory).then_some(line)
        });
    assert_eq!(processes.collect::<Vec<_>>(), Vec::<String>::new());
    let links = std::process::Command::new("ip")
        .args(["route"])
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&links.stdout).contains("10.142.7."));
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&directory), "{mounts}");
    let tables = std::process::Command::new("nft")
        .args(["list", "tables"])
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&tables.stdout).contains("portcullis_stage"));
    let running = stage.start().await;
    until("it has been restarted", || {
        stage.pod(path)["status"]["containerStatuses"][0]["restartCount"] == 1
    });
    until("it is ready again", || {
        condition(&stage.pod(path), "Ready") == Some("True".into())
    });
    running.stop().await;
}
