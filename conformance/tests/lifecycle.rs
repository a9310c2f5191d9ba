//! From start to stop: the demo, what remains, and what does not.

use std::process::{Command, ExitCode};
use std::time::Duration;

use portcullis_conformance::{
    Alone, Cluster, ClusterOptions, EchoServer, Leftovers, Suite, eventually, eventually_some,
    run_with_deadline, scenarios,
};

fn main() -> ExitCode {
    Suite::alone("lifecycle", SCENARIOS)
}

const SCENARIOS: &[Alone] = scenarios![
    the_demo_is_served_and_leaves_nothing,
    namespaces_of_others_do_not_hold_ours,
    a_restart_finds_its_pods_again,
    a_crash_loses_no_acknowledged_write,
    the_kubeconfig_is_its_owners,
];

fn the_demo_is_served_and_leaves_nothing() {
    let machine = Leftovers::look();
    let mut cluster = Cluster::start(&ClusterOptions {
        node: true,
        demo: true,
        ..ClusterOptions::default()
    });
    println!("ready after {:.1} s", cluster.took.as_secs_f64());
    let ready: Vec<_> = cluster
        .stdout()
        .into_iter()
        .filter(|line| line.starts_with("ready "))
        .collect();
    assert_eq!(ready.len(), 1, "{ready:?}");
    let line = eventually_some(Duration::from_secs(30), || {
        let printed = cluster.stdout().join("\n") + "\n" + &cluster.logs();
        let line = printed
            .lines()
            .find_map(|line| Some(line[line.find("curl ")?..].to_owned()));
        line.ok_or(printed)
    });
    eventually(Duration::from_secs(30), || {
        let output = run_with_deadline(
            Command::new("sh").args(["-c", &line]),
            "",
            Duration::from_secs(30),
        );
        let pod = serde_json::from_str::<serde_json::Value>(&output.stdout).ok();
        match pod.as_ref().and_then(|json| json["pod"].as_str()) {
            Some(pod) if !pod.is_empty() => Ok(()),
            _ => Err(format!("{line}\n{}\n{}", output.stdout, output.stderr)),
        }
    });
    let pods = cluster
        .kubectl()
        .run(&["get", "pods", "-A", "--no-headers"])
        .ok();
    assert_eq!(
        pods.lines().filter(|line| line.contains("Running")).count(),
        2,
        "{pods}"
    );
    let data = cluster.data_dir();
    let stopped = cluster.stop();
    println!("stopped after {:.1} s", stopped.took.as_secs_f64());
    assert_eq!(stopped.code, Some(0), "{}", cluster.logs());
    eventually(Duration::from_secs(5), || match machine.since(&data) {
        left if left.is_empty() => Ok(()),
        left => Err(format!("left behind:\n{}", left.join("\n"))),
    });
}

/// The first `ip netns add` on a machine mounts the directory of named namespaces on itself, with all that is in it.
fn namespaces_of_others_do_not_hold_ours() {
    let options = ClusterOptions {
        node: true,
        demo: false,
        ..ClusterOptions::default()
    };
    let machine = Leftovers::look();
    let mut cluster = Cluster::start(&options);
    cluster.kubectl().apply(&application("beside")).ok();
    let host = "http://beside.pods.test/";
    eventually(Duration::from_secs(60), || {
        cluster.get(host).send().pod().map(drop)
    });
    let other = NetworkNamespace::add(&format!("portcullis-e2e-{}", std::process::id()));
    let stopped = cluster.stop();
    assert_eq!(stopped.code, Some(0), "{}", cluster.logs());
    let data = cluster.data_dir();
    let others = [
        other.listed(),
        other.mounted(),
        "mount /run/netns".to_owned(),
    ];
    eventually(Duration::from_secs(5), || {
        let left: Vec<_> = machine.since(&data);
        let ours: Vec<_> = left.iter().filter(|one| !others.contains(one)).collect();
        match ours.is_empty() {
            true => Ok(()),
            false => Err(format!("left behind: {ours:?}")),
        }
    });
    let left = machine.since(&data);
    assert!(
        left.contains(&other.listed()),
        "the other's is not ours to remove: {left:?}"
    );
}

/// A named network namespace of this test, deleted when dropped.
struct NetworkNamespace(String);

impl NetworkNamespace {
    fn add(name: &str) -> Self {
        ip(&["netns", "add", name]);
        Self(name.to_owned())
    }

    fn listed(&self) -> String {
        format!("network namespace {}", self.0)
    }

    fn mounted(&self) -> String {
        format!("mount /run/netns/{}", self.0)
    }
}

impl Drop for NetworkNamespace {
    fn drop(&mut self) {
        ip(&["netns", "delete", &self.0]);
    }
}

fn ip(arguments: &[&str]) {
    run_with_deadline(
        Command::new("ip").args(arguments),
        "",
        Duration::from_secs(20),
    )
    .ok();
}

/// One pod, its Service and its Ingress.
fn application(name: &str) -> String {
    include_str!("application.yaml")
        .replace("@NAME@", name)
        .replace("@REPLICAS@", "1")
}

fn a_restart_finds_its_pods_again() {
    let options = ClusterOptions {
        node: true,
        demo: false,
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start(&options);
    cluster.kubectl().apply(&application("kept")).ok();
    let served = |cluster: &Cluster| cluster.get("http://kept.pods.test/").send().pod().map(drop);
    eventually(Duration::from_secs(60), || served(&cluster));
    let uid = |cluster: &Cluster| {
        cluster.kubectl().get_json(&["ingress", "kept"])["metadata"]["uid"].clone()
    };
    let before = uid(&cluster);
    let cluster = cluster.restart(&options);
    assert_eq!(uid(&cluster), before);
    eventually(Duration::from_secs(60), || served(&cluster));
}

fn a_crash_loses_no_acknowledged_write() {
    let options = ClusterOptions::default();
    let mut cluster = Cluster::start(&options);
    let echo = EchoServer::start("survivor");
    cluster
        .kubectl()
        .apply(&EchoServer::service("survivor", &[&echo]))
        .ok();
    let ingress = [
        "create",
        "ingress",
        "survivor",
        "--class=portcullis",
        "--rule=survivor.test/*=survivor:80",
    ];
    cluster.kubectl().run(&ingress).ok();
    cluster.crash();
    let cluster = cluster.start_again(&options);
    eventually(Duration::from_secs(1), || {
        cluster.get("http://survivor.test/").send().pod().map(drop)
    });
}

fn the_kubeconfig_is_its_owners() {
    use std::os::unix::fs::PermissionsExt;
    let cluster = Cluster::start(&ClusterOptions::default());
    let mode = std::fs::metadata(&cluster.ready.kubeconfig)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    assert!(cluster.ready.kubeconfig.starts_with(cluster.data_dir()));
    assert!(
        cluster.ready.api.starts_with("https://"),
        "{}",
        cluster.ready.api
    );
    let anonymous = run_with_deadline(
        Command::new("curl").args(["-sk", &format!("{}/api/v1/secrets", cluster.ready.api)]),
        "",
        Duration::from_secs(20),
    );
    let status: serde_json::Value = serde_json::from_str(&anonymous.stdout).expect("a Status");
    assert!(status["code"] == 401 || status["code"] == 403, "{status}");
}
