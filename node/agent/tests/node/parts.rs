//! Scenes about what a container may do with its volumes, and about what is run in it beside its own process.

use crate::stage::{Stage, condition, get, until};
use serde_json::json;
use std::io::{BufRead, BufReader, Write};

/// A container that could write to files the node swaps could lead the node's next update elsewhere.
pub fn volumes_are_mounted_in_parts_and_the_nodes_files_read_only(stage: &Stage) {
    let path = stage.apply("parts", json!({
        "nodeName": "stage",
        "terminationGracePeriodSeconds": 0,
        "volumes": [{"name": "settings", "configMap": {"name": "settings"}}, {"name": "shared", "emptyDir": {}}],
        "containers": [{
            "name": "echo",
            "image": "portcullis.dev/echo:1",
            "readinessProbe": {"tcpSocket": {"port": 8080}},
            "volumeMounts": [
                {"name": "settings", "mountPath": "/settings"},
                {"name": "settings", "mountPath": "/one", "subPath": "colour"},
                {"name": "shared", "mountPath": "/whole"},
                {"name": "shared", "mountPath": "/part", "subPath": "deep/below"},
            ],
        }],
    }));
    until("parts is ready", || {
        condition(&stage.pod(&path), "Ready") == Some("True".into())
    });
    let pod = stage.pod(&path);
    let address = format!("{}:8080", pod["status"]["podIP"].as_str().unwrap());
    let read = |file: &str| get(&address, &format!("/file{file}")).unwrap();
    assert_eq!(read("/one"), "green");
    assert_eq!(get(&address, "/write/part/note").unwrap(), "written");
    assert_eq!(read("/whole/deep/below/note"), "/part/note");
    let mounts = read("/proc/self/mountinfo");
    for (mounted, mode) in [
        ("/settings", "ro"),
        ("/one", "ro"),
        ("/whole", "rw"),
        ("/part", "rw"),
    ] {
        let line = mounts
            .lines()
            .find(|line| line.contains(&format!(" {mounted} ")));
        let line = line.unwrap_or_else(|| panic!("{mounted} in {mounts}"));
        let options = line.split(' ').nth(5).unwrap();
        assert!(options.split(',').any(|option| option == mode), "{line}");
    }
    stage.api.delete(&path, 0);
    until("parts is gone", || stage.api.get(&path).is_none());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains("uid-parts"), "{mounts}");
}

/// The runtime also tells when a probe's process ends; taken for the container's own end it would be looked for without end.
pub fn a_command_can_be_a_probe(stage: &Stage) {
    let ready = json!({"exec": {"command": ["/portcullis", "--list"]}, "periodSeconds": 1});
    let path = stage.apply("asked", json!({
        "nodeName": "stage",
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "echo", "image": "portcullis.dev/echo:1", "readinessProbe": ready}],
    }));
    until("asked is ready", || {
        condition(&stage.pod(&path), "Ready") == Some("True".into())
    });
    assert_eq!(
        stage.pod(&path)["status"]["containerStatuses"][0]["restartCount"],
        0
    );
    stage.api.delete(&path, 0);
    until("asked is gone", || stage.api.get(&path).is_none());
}

/// The registry takes the connection and then says nothing.
pub fn a_deletion_interrupts_a_pull(stage: &Stage) {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let image = format!("{}/some/thing:1", silent.local_addr().unwrap());
    let path = stage.apply(
        "pulling",
        json!({
            "nodeName": "stage",
            "containers": [{"name": "echo", "image": image}],
        }),
    );
    let message = format!("Pulling image \"{image}\"");
    until("it is being pulled", || {
        stage.told("pulling", "Pulling", &message).is_some()
    });
    let asked = silent.accept().unwrap();
    stage.api.delete(&path, 0);
    until("pulling is gone", || stage.api.get(&path).is_none());
    drop(asked);
}

/// A registry that lets nobody in is shown what the pod's Secret says.
pub fn a_pull_uses_the_pods_credentials(stage: &Stage) {
    let registry = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = registry.local_addr().unwrap().to_string();
    let config = json!({"auths": {&address: {"auth": "dXNlcjpwYXNz"}}}).to_string();
    let encoded = k8s_openapi::ByteString(config.into_bytes());
    let secret = json!({
        "metadata": {"name": "registry", "namespace": "default"},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": encoded},
    });
    let secrets = "/api/v1/namespaces/default/secrets";
    stage.api.put(&format!("{secrets}/registry"), secret);
    let (seen, shown) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in registry.incoming().flatten() {
            let _ = seen.send(challenge(stream).unwrap_or_default());
        }
    });
    let path = stage.apply(
        "private",
        json!({
            "nodeName": "stage",
            "imagePullSecrets": [{"name": "absent"}, {"name": "registry"}],
            "containers": [{"name": "echo", "image": format!("{address}/some/thing:1")}],
        }),
    );
    until("the credential is shown", || {
        let mut heads = shown.try_iter();
        heads.any(|head| head.contains("authorization: basic dxnlcjpwyxnz"))
    });
    let message = "Unable to retrieve some image pull secrets (absent); attempting to pull the image may not succeed.";
    let told = || stage.told("private", "FailedToRetrieveImagePullSecret", message);
    until("the missing one is told", || told().is_some());
    stage.api.delete(&path, 0);
    until("private is gone", || stage.api.get(&path).is_none());
}

/// Answers one request with 401 and returns its head in lower case.
fn challenge(mut stream: std::net::TcpStream) -> Option<String> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let mut head = String::new();
    while let Some(Ok(line)) = lines.next() {
        if line.is_empty() {
            break;
        }
        head += &(line.to_lowercase() + "\n");
    }
    let answer = "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic realm=\"x\"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    stream.write_all(answer.as_bytes()).ok()?;
    Some(head)
}

/// Its containers go on meanwhile.
pub fn a_runtime_that_dies_is_started_again(stage: &Stage) {
    let file = stage.directory.path().join("containerd/containerd.pid");
    let process = || std::fs::read_to_string(&file).unwrap_or_default();
    let before = process();
    let web = "/api/v1/namespaces/default/pods/web";
    let id = || stage.pod(web)["status"]["containerStatuses"][0]["containerID"].clone();
    let container = id();
    let victim = nix::unistd::Pid::from_raw(before.parse().unwrap());
    nix::sys::signal::kill(victim, nix::sys::signal::Signal::SIGKILL).unwrap();
    let ready = || condition(&stage.pod("/api/v1/nodes/stage"), "Ready");
    until("the node is not ready", || ready() == Some("False".into()));
    until("the node is ready again", || ready() == Some("True".into()));
    assert_ne!(process(), before);
    let ip = stage.pod(web)["status"]["podIP"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(get(&format!("{ip}:8080"), "/").is_ok());
    assert_eq!(id(), container);
}

/// The runtime appends, so a file that only claims to be large is rotated as one that is.
pub fn a_large_log_is_rotated(stage: &Stage) {
    let directory = stage.directory.path().join("logs/default_web_uid-web/echo");
    let log = directory.join("0.log");
    let before = std::fs::OpenOptions::new().append(true).open(&log).unwrap();
    before.set_len((10 << 20) + 1).unwrap();
    let rotated = || {
        let files = std::fs::read_dir(&directory).unwrap().flatten();
        let names = files.map(|file| file.file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("0.log.")).count() == 1
    };
    until("the log is rotated", rotated);
    let ip = stage.pod("/api/v1/namespaces/default/pods/web")["status"]["podIP"].clone();
    let address = format!("{}:8080", ip.as_str().unwrap());
    until("the new file is written to", || {
        get(&address, "/rotated").is_ok()
            && std::fs::read_to_string(&log).is_ok_and(|text| text.contains("request /rotated"))
    });
}
