//! One `portcullis up`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::{Environment, Process, Stopped};
use crate::{Curl, Kubectl, eventually_some};

/// How to start a cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterOptions {
    /// With a node that runs pods; needs root.
    pub node: bool,
    /// With the example application.
    pub demo: bool,
    /// Without the ingress of its own.
    pub no_ingress: bool,
}

/// What the ready line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The kubeconfig that was written.
    pub kubeconfig: PathBuf,
    /// Base URL of the API server.
    pub api: String,
    /// Where plaintext HTTP is served; nowhere without an ingress.
    pub http: SocketAddr,
    /// Where HTTPS is served; nowhere without an ingress.
    pub https: SocketAddr,
}

/// A running cluster; dropping it ends it.
pub struct Cluster {
    /// What its ready line said.
    pub ready: Ready,
    /// From the start of the process to its ready line.
    pub took: Duration,
    process: Process,
    directory: Arc<TempDir>,
}

impl Cluster {
    /// Starts a cluster over a fresh data directory and waits for its ready line.
    ///
    /// # Panics
    /// With its log when it ends or says nothing in time.
    #[must_use]
    pub fn start(options: &ClusterOptions) -> Self {
        Self::start_with(options, &[])
    }

    /// The same with further arguments, such as `--resolv-conf=FILE`.
    ///
    /// # Panics
    /// As [`Cluster::start`].
    #[must_use]
    pub fn start_with(options: &ClusterOptions, further: &[OsString]) -> Self {
        let directory = tempfile::Builder::new().prefix("portcullis-e2e-").tempdir();
        let directory = Arc::new(directory.expect("a temporary directory"));
        Self::start_in(directory, options, further)
    }

    fn start_over(directory: Arc<TempDir>, options: &ClusterOptions) -> Self {
        Self::start_in(directory, options, &[])
    }

    fn start_in(directory: Arc<TempDir>, options: &ClusterOptions, further: &[OsString]) -> Self {
        let mut arguments = arguments(&directory.path().join("data"), options);
        arguments.extend_from_slice(further);
        let start = Instant::now();
        let mut process =
            Process::start(directory.path(), "up", &arguments, Environment::Inherited);
        let ready = eventually_some(START_DEADLINE, || {
            if let Some(status) = process.ended() {
                panic!("portcullis up ended with {status}\n{}", process.log_tail());
            }
            let printed = process.stdout();
            let line = printed.lines().find(|line| line.starts_with("ready "));
            line.map(parse_ready).ok_or_else(|| process.log_tail())
        });
        Self {
            ready,
            took: start.elapsed(),
            process,
            directory,
        }
    }

    /// Stops it and starts it again over the same data directory.
    #[must_use]
    pub fn restart(mut self, options: &ClusterOptions) -> Self {
        let stopped = self.stop();
        assert_eq!(stopped.code, Some(0), "{}", self.logs());
        Self::start_over(self.directory.clone(), options)
    }

    /// SIGTERM, then waits for its end.
    ///
    /// # Panics
    /// When it does not end in time (it is killed then).
    pub fn stop(&mut self) -> Stopped {
        self.process.stop()
    }

    /// SIGKILL, as a power cut would: nothing is drained, nothing tidied up.
    ///
    /// # Panics
    /// When the process is not there.
    pub fn crash(&mut self) {
        self.process.crash();
    }

    /// Starts again after [`Cluster::stop`] or [`Cluster::crash`].
    #[must_use]
    pub fn start_again(self, options: &ClusterOptions) -> Self {
        Self::start_over(self.directory.clone(), options)
    }

    /// kubectl with its kubeconfig, in namespace `default`.
    #[must_use]
    pub fn kubectl(&self) -> Kubectl {
        Kubectl::new(&self.ready.kubeconfig)
    }

    /// `GET url` at the ingress.
    #[must_use]
    pub fn get(&self, url: &str) -> Curl {
        if url.starts_with("https:") {
            return Curl::get(url, self.ready.https);
        }
        Curl::get(url, self.ready.http)
    }

    /// Its data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// All that it has printed on standard output.
    #[must_use]
    pub fn stdout(&self) -> Vec<String> {
        self.process.stdout().lines().map(str::to_owned).collect()
    }

    /// Process id while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.id()
    }

    /// The last lines of its log.
    #[must_use]
    pub fn logs(&self) -> String {
        self.process.log_tail()
    }
}

/// Every port is free to choose.
fn arguments(data: &Path, options: &ClusterOptions) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["up".into(), "--data-dir".into(), data.into()];
    arguments.extend(FREE_PORTS.iter().map(OsString::from));
    if !options.node {
        arguments.push("--no-node".into());
    }
    if options.demo {
        arguments.push("--demo".into());
    }
    if options.no_ingress {
        arguments.push("--no-ingress".into());
    }
    arguments
}

/// Every port that `portcullis up` listens on, free to choose.
pub const FREE_PORTS: &[&str] = &[
    "--api-port=0",
    "--http-port=0",
    "--https-port=0",
    "--admin-port=0",
    "--kubelet-port=0",
];

fn parse_ready(line: &str) -> Ready {
    let find = |name: &str| {
        line.split(' ')
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    };
    let value = |name: &str| {
        find(name)
            .unwrap_or_else(|| panic!("no {name} in {line:?}"))
            .to_owned()
    };
    let address = |name: &str| {
        let text = find(name).unwrap_or("0.0.0.0:0");
        text.replace("localhost", "127.0.0.1")
            .parse()
            .unwrap_or_else(|_| panic!("{name} is no address in {line:?}"))
    };
    Ready {
        kubeconfig: value("kubeconfig").into(),
        api: value("api"),
        http: address("http"),
        https: address("https"),
    }
}

/// A cold start on a loaded two-core machine with a debug build; the promise itself is measured elsewhere.
const START_DEADLINE: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_understood() {
        let ready = parse_ready(
            "ready kubeconfig=/d/k api=https://127.0.0.1:6443 http=127.0.0.1:80 https=127.0.0.1:443",
        );
        let expected = Ready {
            kubeconfig: "/d/k".into(),
            api: "https://127.0.0.1:6443".to_owned(),
            http: "127.0.0.1:80".parse().unwrap(),
            https: "127.0.0.1:443".parse().unwrap(),
        };
        assert_eq!(ready, expected);
    }
}
