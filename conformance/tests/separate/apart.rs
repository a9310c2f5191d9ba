//! The parts in processes of their own, and what they serve.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use portcullis_conformance::{Answer, Curl};
use tempfile::TempDir;

use super::alone::CLASS;
use super::{
    Duration, EchoServer, Environment, Kubectl, Process, START, Stage, certificate, eventually,
    eventually_some, expect_pod, free_port, ingress, serve,
};

/// One controller and one proxy, at ports that they keep over restarts.
pub(crate) struct Apart {
    /// Ended in this order: the proxy first.
    pub proxy: Option<Process>,
    pub controller: Option<Process>,
    directory: TempDir,
    kubeconfig: PathBuf,
    ports: Ports,
}

struct Ports {
    link: u16,
    http: u16,
    https: u16,
    /// The proxy's.
    admin: u16,
}

impl Apart {
    /// Neither is started yet.
    pub(crate) fn beside(kubeconfig: &Path) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("portcullis-apart-")
            .tempdir();
        Self {
            proxy: None,
            controller: None,
            directory: directory.expect("a temporary directory"),
            kubeconfig: kubeconfig.to_owned(),
            ports: Ports {
                link: free_port(),
                http: free_port(),
                https: free_port(),
                admin: free_port(),
            },
        }
    }

    /// Both are started.
    pub(crate) fn start(stage: &Stage) -> Self {
        let mut apart = Self::beside(&stage.cluster.ready.kubeconfig);
        apart.start_controller(&["--update-status=false"]);
        apart.start_proxy();
        apart
    }

    pub(crate) fn start_controller(&mut self, more: &[&str]) {
        let kubeconfig = self.kubeconfig.display();
        let mut arguments = vec![
            "controller".to_owned(),
            format!("--kubeconfig={kubeconfig}"),
            format!("--listen=127.0.0.1:{}", self.ports.link),
            format!("--pki-dir={}", self.pki().display()),
            format!("--http-port={}", self.ports.http),
            format!("--https-port={}", self.ports.https),
        ];
        arguments.extend(more.iter().map(|&one| one.to_owned()));
        self.controller = Some(self.process("controller", &arguments));
    }

    pub(crate) fn start_proxy(&mut self) {
        let arguments = [
            "proxy".to_owned(),
            format!("--controller=127.0.0.1:{}", self.ports.link),
            format!("--pki-dir={}", self.proxy_pki().display()),
            format!("--state-dir={}", self.state_dir().display()),
            format!("--admin-port={}", self.ports.admin),
            "--workers=1".to_owned(),
            "--access-log=off".to_owned(),
            "--drain-seconds=5".to_owned(),
        ];
        self.proxy = Some(self.process("proxy", &arguments));
    }

    fn process(&self, name: &str, arguments: &[String]) -> Process {
        Process::start(self.directory.path(), name, arguments, Environment::Bare)
    }

    /// `GET url` at the proxy.
    pub(crate) fn get(&self, url: &str) -> Curl {
        let port = match url.starts_with("https:") {
            true => self.ports.https,
            false => self.ports.http,
        };
        Curl::get(url, SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    pub(crate) fn http(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.http))
    }

    /// What the proxy's admin endpoint answers.
    pub(crate) fn ask_proxy(&self, path: &str) -> Answer {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.admin));
        Curl::get(&format!("http://proxy.test{path}"), at).send()
    }

    pub(crate) fn pki(&self) -> PathBuf {
        self.directory.path().join("pki")
    }

    /// The controller makes it, a proxy is given it.
    pub(crate) fn proxy_pki(&self) -> PathBuf {
        self.pki().join("proxy")
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Whether the proxy, or an earlier one of this place, has logged `text`.
    pub(crate) fn proxy_logged(&self, text: &str) -> Result<(), String> {
        match &self.proxy {
            Some(proxy) if proxy.log().contains(text) => Ok(()),
            _ => Err(format!("{text:?} is not in\n{}", self.logs())),
        }
    }

    pub(crate) fn logs(&self) -> String {
        let tail = |process: &Option<Process>| process.as_ref().map(Process::log_tail);
        let (controller, proxy) = (tail(&self.controller), tail(&self.proxy));
        format!(
            "controller: {}\nproxy: {}",
            controller.unwrap_or_default(),
            proxy.unwrap_or_default()
        )
    }
}

/// What of an answer must not depend on who serves it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    status: u16,
    pod: Option<String>,
    path: Option<String>,
    /// Without its port, which is a server's own.
    location: Option<String>,
    certificate: Option<String>,
}

impl Seen {
    fn of(answer: &Answer) -> Self {
        let dump = answer.json();
        let text = |name: &str| dump[name].as_str().map(str::to_owned);
        let subject = |line: &str| {
            line.split_once("subject: ")
                .map(|(_, name)| name.to_owned())
        };
        Self {
            status: answer.status,
            pod: text("pod"),
            path: text("path"),
            location: answer.header("location").map(without_port),
            certificate: answer.notes.lines().find_map(subject),
        }
    }
}

fn without_port(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.split(':').next().unwrap_or_default();
    format!("{scheme}://{host}{path}")
}

pub(crate) fn the_same_traffic_is_served(stage: &Stage) {
    let _server = serve(&stage.kubectl, "same.test", "same");
    stage
        .kubectl
        .apply(&ingress("wild", "'*.same.test'", "same"))
        .ok();
    stage
        .kubectl
        .apply(&EchoServer::service("unready", &[]))
        .ok();
    stage
        .kubectl
        .apply(&ingress("unready", "unready.test", "unready"))
        .ok();
    stage
        .kubectl
        .apply(&secure("secure.same.test", "same"))
        .ok();
    let apart = Apart::start(stage);
    let expected = [
        ("http://same.test/a/b?c=d", 200),
        ("http://any.same.test/", 200),
        ("http://unready.test/", 503),
        ("http://nobody.test/", 404),
        ("http://secure.same.test/a?b=c", 308),
        ("https://secure.same.test/a", 200),
        ("https://same.test/", 200),
        ("https://nobody.test/", 404),
    ];
    for (url, status) in expected {
        let within = stage.cluster.get(url).with(&["--insecure"]).send();
        assert_eq!(within.status, status, "{url}: {}", within.notes);
        eventually(START, || {
            let apart_seen = Seen::of(&apart.get(url).with(&["--insecure"]).send());
            match Seen::of(&within) {
                seen if seen == apart_seen => Ok(()),
                seen => Err(format!(
                    "{url}: {seen:?} in one process, {apart_seen:?} apart\n{}",
                    apart.logs()
                )),
            }
        });
    }
}

/// API server, controller-manager, controller and proxy are four processes here.
pub(crate) fn every_part_stands_alone(_stage: &Stage) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let data = directory.path().join("data");
    let start = |name: &str, arguments: &[String]| {
        Process::start(directory.path(), name, arguments, Environment::Bare)
    };
    let server = start(
        "apiserver",
        &[
            "apiserver".to_owned(),
            format!("--data-dir={}", data.display()),
            "--secure-port=0".to_owned(),
        ],
    );
    eventually(START, || match server.stdout().starts_with("ready ") {
        true => Ok(()),
        false => Err(server.log_tail()),
    });
    let kubeconfig = data.join("kubeconfig");
    // Each component under its own name, with no more rights than it has.
    let of = |component: &str| data.join(format!("{component}.kubeconfig"));
    let _manager = start(
        "controller-manager",
        &[
            "controller-manager".to_owned(),
            format!("--kubeconfig={}", of("controller-manager").display()),
        ],
    );
    let kubectl = Kubectl::new(&kubeconfig);
    kubectl.apply(CLASS).ok();
    let kubectl = kubectl.in_new_namespace("alone");
    let _server = serve(&kubectl, "alone.test", "alone");
    let mut apart = Apart::beside(&of("ingress-controller"));
    apart.start_controller(&[
        "--publish-status-address=192.0.2.7",
        "--disable-leader-election",
    ]);
    apart.start_proxy();
    expect_pod(&apart, "http://alone.test/", "alone", START);
    let address = eventually_some(START, || {
        let ingress = kubectl.get_json(&["ingress", "site"]);
        let first = &ingress["status"]["loadBalancer"]["ingress"][0]["ip"];
        let first = first.as_str().map(str::to_owned);
        first.ok_or_else(|| format!("{ingress}\n{}", apart.logs()))
    });
    assert_eq!(address, "192.0.2.7");
    // The controller-manager's work.
    eventually(START, || {
        let listed = kubectl.run(&["get", "serviceaccount", "default"]);
        listed.success().then_some(()).ok_or(listed.stderr)
    });
    let mut controller = apart.controller.take().expect("started above");
    assert_eq!(controller.stop().code, Some(0), "{}", controller.log_tail());
    eventually(Duration::from_secs(5), || {
        let ingress = kubectl.get_json(&["ingress", "site"]);
        match ingress["status"]["loadBalancer"]["ingress"].is_null() {
            true => Ok(()),
            false => Err(format!("the last controller left its address: {ingress}")),
        }
    });
}

/// An Ingress with a certificate in a Secret.
fn secure(host: &str, service: &str) -> String {
    let issued = certificate(&[host]);
    let indented = |pem: &str| pem.trim().replace('\n', "\n    ");
    format!(
        "{}  tls: [{{hosts: [{host}], secretName: secure}}]\n---\n\
         apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {{name: secure}}\nstringData:\n  \
         tls.crt: |\n    {}\n  tls.key: |\n    {}\n",
        ingress("secure", host, service),
        indented(&issued.certificate_pem),
        indented(issued.key.pem())
    )
}
