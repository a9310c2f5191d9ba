//! Machines and arguments on which `up` cannot start: one clear sentence, and nothing half-started.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use portcullis_conformance::{
    Alone, Cluster, ClusterOptions, FREE_PORTS, Leftovers, Output, Suite, binary, is_root,
    run_with_deadline, scenarios,
};

fn main() -> ExitCode {
    Suite::alone("bad_input", SCENARIOS)
}

const SCENARIOS: &[Alone] = scenarios![
    a_busy_port_is_named,
    without_root_there_is_no_node,
    without_containerd_there_is_no_node,
    a_corrupt_data_directory_is_named,
    a_second_cluster_over_the_same_data_is_refused,
    an_unwritable_data_directory_is_named,
    unknown_arguments_are_refused,
];

fn a_busy_port_is_named() {
    for flag in ["--http-port", "--https-port", "--api-port"] {
        let busy = TcpListener::bind("0.0.0.0:0").expect("a free port");
        let port = busy.local_addr().expect("bound").port().to_string();
        refused(&mut up(&["--no-node", &format!("{flag}={port}")]), &port);
    }
}

fn without_root_there_is_no_node() {
    let nobody = tempfile::tempdir().expect("a temporary directory");
    let copy = nobody.path().join("portcullis");
    fs::copy(binary(), &copy).expect("the binary can be copied");
    open_to_all(nobody.path());
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    command.arg("--").arg(&copy).arg("up").args(FREE_PORTS);
    refused_in(&mut command, &nobody.path().join("data"), "root");
}

fn without_containerd_there_is_no_node() {
    let empty = tempfile::tempdir().expect("a temporary directory");
    refused(up(&[]).env("PATH", empty.path()), "containerd");
}

fn a_corrupt_data_directory_is_named() {
    let mut cluster = Cluster::start(&ClusterOptions::default());
    cluster.stop();
    let data = cluster.data_dir();
    let mut spoilt = 0;
    spoil(&data, &mut spoilt);
    assert!(spoilt > 0, "the data directory holds files");
    let mut command = up(&["--no-node"]);
    refused_in(&mut command, &data, data.to_str().expect("a plain path"));
}

fn a_second_cluster_over_the_same_data_is_refused() {
    let cluster = Cluster::start(&ClusterOptions::default());
    let data = cluster.data_dir();
    let mut command = up(&["--no-node"]);
    refused_in(&mut command, &data, data.to_str().expect("a plain path"));
    assert!(
        cluster.kubectl().run(&["get", "namespaces"]).success(),
        "the first one goes on"
    );
}

fn an_unwritable_data_directory_is_named() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("file");
    fs::write(&file, "").expect("it can be written");
    let data = file.join("data");
    refused_in(
        &mut up(&["--no-node"]),
        &data,
        file.to_str().expect("a plain path"),
    );
}

fn unknown_arguments_are_refused() {
    let output = run_with_deadline(&mut up(&["--frobnicate"]), "", DEADLINE);
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.stderr.contains("--frobnicate"), "{output:?}");
    let output = run_with_deadline(Command::new(binary()).arg("frobnicate"), "", DEADLINE);
    assert_eq!(output.code, Some(2), "{output:?}");
}

/// With every port free to choose unless `arguments` name it again.
fn up(arguments: &[&str]) -> Command {
    let named = |flag: &&&str| {
        !arguments
            .iter()
            .any(|one| one.split('=').next() == flag.split('=').next())
    };
    let mut command = Command::new(binary());
    command
        .arg("up")
        .args(FREE_PORTS.iter().filter(named))
        .args(arguments);
    command
}

#[track_caller]
fn refused(command: &mut Command, word: &str) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    refused_in(command, &directory.path().join("data"), word);
}

/// It ends by itself with a failure, its last line is one sentence with `word`, and nothing stays behind.
#[track_caller]
fn refused_in(command: &mut Command, data: &Path, word: &str) {
    let machine = Leftovers::look();
    let output: Output = run_with_deadline(command.arg("--data-dir").arg(data), "", DEADLINE);
    assert!(
        output.code.is_some_and(|code| code != 0 && code != 101),
        "{output:?}"
    );
    assert_eq!(output.stdout, "", "nothing was ready");
    let last = output.stderr.trim_end().lines().last().unwrap_or_default();
    assert!(
        last.contains(word),
        "{word:?} is not in {last:?} of\n{}",
        output.stderr
    );
    assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
    let left = machine.since(data);
    assert!(
        left.is_empty() || word == data.to_string_lossy(),
        "left behind: {left:?}"
    );
}

fn spoil(directory: &Path, spoilt: &mut usize) {
    for entry in fs::read_dir(directory).expect("it can be listed") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            spoil(&path, spoilt);
        } else if path.is_file() {
            fs::write(&path, "this is no database, no key and no certificate")
                .expect("it can be written");
            *spoilt += 1;
        }
    }
}

fn open_to_all(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o777)).expect("our own directory");
}

const DEADLINE: Duration = Duration::from_secs(30);
