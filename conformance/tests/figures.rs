//! What `portcullis up` costs: printed, and a failure where it is beyond what is promised.
//!
//! The promises hold for the release binary; a debug build gets three times as much of everything.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use portcullis_conformance::{
    Alone, Cluster, ClusterOptions, Consumer, Curl, Environment, Process, Suite, eventually,
    eventually_some, free_port, processor_percent, scenarios,
};

fn main() -> ExitCode {
    Suite::alone("figures", SCENARIOS)
}

const SCENARIOS: &[Alone] = scenarios![
    the_api_is_ready_soon_after_the_start,
    the_cluster_is_ready_soon_and_costs_little_when_idle,
];

fn the_api_is_ready_soon_after_the_start() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (api, admin) = (free_port(), free_port());
    let arguments = [
        "up".to_owned(),
        "--no-node".to_owned(),
        format!("--data-dir={}", directory.path().join("data").display()),
        format!("--api-port={api}"),
        format!("--admin-port={admin}"),
        "--http-port=0".to_owned(),
        "--https-port=0".to_owned(),
    ];
    // The second start finds its certificates and its data.
    for start in ["first start", "second start"] {
        let begin = Instant::now();
        let mut up = Process::start(directory.path(), "up", &arguments, Environment::Inherited);
        let ready = |scheme: &str, port: u16| {
            let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let url = format!("{scheme}://localhost/readyz");
            eventually(Duration::from_secs(60), || {
                let answer = Curl::get(&url, at).with(&["--insecure"]).send();
                answer.expect_status(200)
            });
            begin.elapsed()
        };
        let of_api = ready("https", api);
        let of_ingress = ready("http", admin);
        figure(
            &format!("{start}: /readyz of the API, s"),
            of_api.as_secs_f64(),
            READYZ_S,
        );
        figure(
            &format!("{start}: /readyz of the ingress, s"),
            of_ingress.as_secs_f64(),
            READYZ_S,
        );
        assert_eq!(up.stop().code, Some(0), "{}", up.log_tail());
    }
}

fn the_cluster_is_ready_soon_and_costs_little_when_idle() {
    let options = ClusterOptions {
        node: true,
        demo: true,
        ..ClusterOptions::default()
    };
    let mut cluster = Cluster::start(&options);
    println!(
        "    first start, images imported: ready line after {:.2} s",
        cluster.took.as_secs_f64()
    );
    cluster.stop();
    let cluster = cluster.start_again(&options);
    figure(
        "ready line with images present, s",
        cluster.took.as_secs_f64(),
        READY_LINE_S,
    );
    let kubectl = cluster.kubectl();
    let available = [
        "wait",
        "--for=condition=Available",
        "deployment/echo",
        "--timeout=60s",
    ];
    kubectl.run(&available).ok();
    let own = [Consumer {
        pid: cluster.pid().expect("it runs"),
        name: "portcullis".to_owned(),
    }];
    // What the start left to do is done within a minute.
    let percent = eventually_some(SETTLING, || match processor_percent(&own, WINDOW) {
        percent if percent <= allowed(IDLE_CPU_PERCENT) => Ok(percent),
        percent => Err(format!(
            "idle CPU of portcullis is {percent:.1} % of a core"
        )),
    });
    figure(
        "idle CPU of portcullis, % of a core",
        percent,
        IDLE_CPU_PERCENT,
    );
    figure(
        "idle RSS of portcullis, MB",
        own[0].resident_mb(),
        IDLE_RSS_MB,
    );
    let others = Consumer::find("containerd", &cluster.data_dir());
    let percent = processor_percent(&others, WINDOW);
    println!("    idle CPU of containerd and its shims: {percent:.1} % of a core");
    for one in &others {
        println!("    idle RSS of {}: {:.0} MB", one.name, one.resident_mb());
    }
}

/// Prints a figure beside its bar, and fails beyond it.
#[track_caller]
fn figure(name: &str, found: f64, bar: f64) {
    let allowed = allowed(bar);
    println!("    {name}: {found:.2} (bar {bar}, here {allowed})");
    assert!(found <= allowed, "{name}: {found:.2}, allowed {allowed}");
}

fn allowed(bar: f64) -> f64 {
    bar * if cfg!(debug_assertions) {
        DEBUG_FACTOR
    } else {
        1.0
    }
}

const READYZ_S: f64 = 1.5;
const READY_LINE_S: f64 = 10.0;
const IDLE_RSS_MB: f64 = 150.0;
const IDLE_CPU_PERCENT: f64 = 2.0;

/// Unoptimised code, on a machine that may be busy with other builds.
const DEBUG_FACTOR: f64 = 3.0;

/// From the first served request until nothing of the start is still at work.
const SETTLING: Duration = Duration::from_secs(60);

/// Long enough for several leases, probes and timers.
const WINDOW: Duration = Duration::from_secs(10);
