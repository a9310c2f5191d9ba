//! An API server without anything else: whatever is written, a controller of the scenario has written.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use portcullis_conformance::Curl;
use serde_json::Value;
use tempfile::TempDir;

use super::{Duration, Environment, Kubectl, Process, START, eventually, free_port};

pub(crate) struct Alone {
    /// In a namespace of its own, `site`.
    pub kubectl: Kubectl,
    pub kubeconfig: PathBuf,
    server: Process,
    directory: TempDir,
}

impl Alone {
    /// With our IngressClass, and a namespace `edge` as an ingress is installed into.
    pub(crate) fn start() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("portcullis-alone-")
            .tempdir();
        let directory = directory.expect("a temporary directory");
        let data = directory.path().join("data");
        let server = Process::start(
            directory.path(),
            "apiserver",
            &[
                "apiserver".to_owned(),
                format!("--data-dir={}", data.display()),
                "--secure-port=0".to_owned(),
            ],
            Environment::Bare,
        );
        eventually(START, || match server.stdout().starts_with("ready ") {
            true => Ok(()),
            false => Err(server.log_tail()),
        });
        let kubeconfig = data.join("kubeconfig");
        let kubectl = Kubectl::new(&kubeconfig);
        kubectl.apply(CLASS).ok();
        kubectl.run(&["create", "namespace", "edge"]).ok();
        Self {
            kubectl: kubectl.in_new_namespace("site"),
            kubeconfig,
            server,
            directory,
        }
    }

    /// A controller of the namespace `edge`, ready.
    pub(crate) fn controller(&self, name: &str, more: &[&str]) -> Controller {
        self.controller_by(&self.kubeconfig, name, more)
    }

    /// The same with another way to the API.
    pub(crate) fn controller_by(&self, kubeconfig: &Path, name: &str, more: &[&str]) -> Controller {
        let given = more
            .iter()
            .find_map(|flag| flag.strip_prefix("--listen=127.0.0.1:"));
        let link = given.map_or_else(free_port, |port| port.parse().expect("a port"));
        let admin = free_port();
        let mut arguments = vec![
            "controller".to_owned(),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--healthz-port={admin}"),
            "--election-namespace=edge".to_owned(),
        ];
        if given.is_none() {
            arguments.push(format!("--listen=127.0.0.1:{link}"));
        }
        if !more.iter().any(|flag| flag.starts_with("--mtls-secret")) {
            let pki = self.path().join(format!("pki-{name}"));
            arguments.push(format!("--pki-dir={}", pki.display()));
        }
        arguments.extend(more.iter().map(|&one| one.to_owned()));
        let process = Process::start(self.path(), name, &arguments, Environment::Bare);
        let controller = Controller {
            process,
            link,
            admin,
        };
        eventually(START, || match controller.ask("/readyz") {
            (200, _) => Ok(()),
            (status, body) => Err(format!(
                "{status} {body}\n{}",
                controller.process.log_tail()
            )),
        });
        controller
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What the status of an Ingress shows, an address or a name each.
    pub(crate) fn addresses(&self, ingress: &str) -> Vec<String> {
        let ingress = self.kubectl.get_json(&["ingress", ingress]);
        let shown = ingress["status"]["loadBalancer"]["ingress"].as_array();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let both = |entry: &Value| [text(&entry["ip"]), text(&entry["hostname"])];
        let entries = shown.into_iter().flatten();
        entries.flat_map(both).flatten().collect()
    }

    #[track_caller]
    pub(crate) fn expect_addresses(
        &self,
        ingress: &str,
        wanted: &[&str],
        deadline: Duration,
    ) -> Duration {
        eventually(deadline, || match self.addresses(ingress) {
            found if found == wanted => Ok(()),
            found => Err(format!("{ingress} shows {found:?}, not {wanted:?}")),
        })
    }

    /// What would change with a write by anybody.
    pub(crate) fn version(&self, ingress: &str) -> String {
        let ingress = self.kubectl.get_json(&["ingress", ingress]);
        ingress["metadata"]["resourceVersion"].to_string()
    }

    pub(crate) fn lease(&self) -> Value {
        let edge = self.kubectl.within("edge");
        edge.get_json(&["lease", "ingress-controller-leader"])["spec"].clone()
    }

    /// Waits until whoever holds the Lease has renewed it so often: time in which others had their chance.
    #[track_caller]
    pub(crate) fn await_renewals(&self, count: usize) {
        for _ in 0..count {
            let before = self.lease()["renewTime"].clone();
            eventually(START, || match self.lease()["renewTime"] == before {
                false => Ok(()),
                true => Err(format!(
                    "the Lease is not renewed\n{}",
                    self.server.log_tail()
                )),
            });
        }
    }
}

pub(crate) struct Controller {
    pub process: Process,
    pub link: u16,
    admin: u16,
}

impl Controller {
    /// Status and body of an answer of its admin endpoint.
    pub(crate) fn ask(&self, path: &str) -> (u16, String) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.admin));
        let answer = Curl::get(&format!("http://controller.test{path}"), address).send();
        (answer.status, answer.body)
    }

    pub(crate) fn leads(&self) -> bool {
        let (_, metrics) = self.ask("/metrics");
        let line = "leader_election_status{name=\"ingress-controller-leader\"} 1";
        metrics.contains(line)
    }
}

/// The files of a mounted Secret, exchanged as the kubelet does: all at once, by moving one link.
pub(crate) struct Mount {
    directory: PathBuf,
    version: u32,
}

impl Mount {
    pub(crate) fn new(directory: PathBuf) -> Self {
        fs::create_dir_all(&directory).expect("our own directory");
        Self {
            directory,
            version: 0,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.directory
    }

    /// Mounts what the Secret holds now.
    pub(crate) fn refresh(&mut self, kubectl: &Kubectl, secret: &str) {
        self.version += 1;
        let version = format!("..{}", self.version);
        let fresh = self.directory.join(&version);
        fs::create_dir(&fresh).expect("our own directory");
        for name in ["ca.crt", "tls.crt", "tls.key"] {
            let template = format!("{{{{index .data \"{name}\" | base64decode}}}}");
            let output = format!("-ogo-template={template}");
            let text = kubectl.run(&["get", "secret", secret, &output]).ok();
            fs::write(fresh.join(name), text).expect("our own directory");
            let link = self.directory.join(name);
            if !link.is_symlink() {
                let target = Path::new("..data").join(name);
                std::os::unix::fs::symlink(target, link).expect("our own directory");
            }
        }
        let moving = self.directory.join("..data_tmp");
        std::os::unix::fs::symlink(&version, &moving).expect("our own directory");
        fs::rename(moving, self.directory.join("..data")).expect("our own directory");
        if self.version > 1 {
            let old = self.directory.join(format!("..{}", self.version - 1));
            fs::remove_dir_all(old).expect("our own directory");
        }
    }
}

pub(crate) const CLASS: &str = "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: portcullis}\n\
                                spec: {controller: portcullis.dev/ingress}\n";
