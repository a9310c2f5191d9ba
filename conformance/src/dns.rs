//! BIND, and ExternalDNS that publishes into it.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::command::{run_with_deadline, tool};
use crate::process::{Environment, Process};
use crate::wait::eventually;

/// Debian's `named` with one zone that may be changed and transferred by whoever has the key; dropping it ends it.
pub struct NameServer {
    zone: String,
    port: u16,
    process: Process,
    directory: TempDir,
}

/// Upstream's ExternalDNS, built by `make tools`; dropping it ends it.
pub struct ExternalDns {
    process: Process,
}

impl NameServer {
    /// Starts one and waits for its first answer.
    ///
    /// # Panics
    /// When it cannot be started or does not answer in time.
    #[must_use]
    pub fn start(zone: &str) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("portcullis-bind-")
            .tempdir();
        let directory = directory.expect("a temporary directory");
        let port = free_datagram_port();
        let path = directory.path();
        fs::write(path.join("zone"), zone_file(zone)).expect("our own directory");
        let configuration = path.join("named.conf");
        fs::write(&configuration, named_conf(path, zone, port)).expect("our own directory");
        let process = Process::start_program(
            Path::new(NAMED),
            path,
            "named",
            &["-g".into(), "-n1".into(), "-c".into(), configuration],
            Environment::Bare,
        );
        let server = Self {
            zone: zone.to_owned(),
            port,
            process,
            directory,
        };
        eventually(START, || match server.query(zone, "SOA").is_empty() {
            false => Ok(()),
            true => Err(server.logs()),
        });
        server
    }

    /// The data of the records of a name, sorted.
    #[must_use]
    pub fn query(&self, name: &str, kind: &str) -> Vec<String> {
        let port = self.port.to_string();
        let arguments = [
            "+short",
            "+norecurse",
            "+tries=1",
            "+time=2",
            "@127.0.0.1",
            "-p",
            &port,
            name,
            kind,
        ];
        let output = run_with_deadline(Command::new("dig").args(arguments), "", DEADLINE);
        // Without an answer dig prints comments.
        let lines = output.stdout.lines().filter(|line| !line.starts_with(';'));
        let mut found: Vec<String> = lines.map(str::to_owned).collect();
        found.sort();
        found
    }

    /// Every record but those of the zone itself, as `NAME TYPE DATA`, by a zone transfer.
    ///
    /// # Panics
    /// When the transfer is refused.
    #[must_use]
    pub fn records(&self) -> Vec<String> {
        let (port, key) = (
            self.port.to_string(),
            format!("hmac-sha256:{KEY_NAME}:{KEY}"),
        );
        let arguments = [
            "+noall",
            "+answer",
            "+tcp",
            "-y",
            &key,
            "@127.0.0.1",
            "-p",
            &port,
            &self.zone,
            "AXFR",
        ];
        let output = run_with_deadline(Command::new("dig").args(arguments), "", DEADLINE);
        assert!(output.success(), "{}{}", output.stdout, output.stderr);
        let apex = format!("{}.", self.zone);
        let words =
            |line: &str| -> Vec<String> { line.split_whitespace().map(str::to_owned).collect() };
        let lines = output.stdout.lines().map(words);
        let others = lines.filter(|words| words.len() > 4 && words[0] != apex);
        others
            .map(|words| format!("{} {} {}", words[0], words[3], words[4..].join(" ")))
            .collect()
    }

    /// The last lines of its log.
    #[must_use]
    pub fn logs(&self) -> String {
        self.process.log_tail()
    }
}

impl ExternalDns {
    /// Starts one that publishes Ingresses and Services of a cluster into a zone, and takes away what is gone.
    #[must_use]
    pub fn start(kubeconfig: &Path, server: &NameServer) -> Self {
        let flags = [
            "--source=ingress".to_owned(),
            "--source=service".to_owned(),
            "--provider=rfc2136".to_owned(),
            "--rfc2136-host=127.0.0.1".to_owned(),
            format!("--rfc2136-port={}", server.port),
            format!("--rfc2136-zone={}", server.zone),
            format!("--rfc2136-tsig-keyname={KEY_NAME}"),
            format!("--rfc2136-tsig-secret={KEY}"),
            "--rfc2136-tsig-secret-alg=hmac-sha256".to_owned(),
            "--rfc2136-tsig-axfr".to_owned(),
            format!("--domain-filter={}", server.zone),
            "--registry=txt".to_owned(),
            "--txt-owner-id=conformance".to_owned(),
            "--policy=sync".to_owned(),
            "--events".to_owned(),
            "--interval=2s".to_owned(),
            format!("--kubeconfig={}", kubeconfig.display()),
        ];
        let program = tool("external-dns");
        let directory = server.directory.path();
        Self {
            process: Process::start_program(
                &program,
                directory,
                "external-dns",
                &flags,
                Environment::Bare,
            ),
        }
    }

    /// The last lines of its log.
    #[must_use]
    pub fn logs(&self) -> String {
        self.process.log_tail()
    }
}

fn zone_file(zone: &str) -> String {
    format!(
        "$TTL 1\n@ IN SOA {zone}. admin.{zone}. 1 60 60 60 1\n@ IN NS {zone}.\n@ IN A 127.0.0.1\n"
    )
}

fn named_conf(directory: &Path, zone: &str, port: u16) -> String {
    let at = |name: &str| -> PathBuf { directory.join(name) };
    format!(
        "options {{ directory \"{}\"; pid-file \"{}\"; session-keyfile \"{}\"; listen-on port {port} {{ 127.0.0.1; }};\n\
         listen-on-v6 {{ none; }}; recursion no; dnssec-validation no; notify no; }};\n\
         controls {{ }};\n\
         key \"{KEY_NAME}\" {{ algorithm hmac-sha256; secret \"{KEY}\"; }};\n\
         zone \"{zone}\" {{ type primary; file \"{}\"; allow-update {{ key \"{KEY_NAME}\"; }}; allow-transfer {{ key \"{KEY_NAME}\"; }}; }};\n",
        directory.display(),
        at("named.pid").display(),
        at("session.key").display(),
        at("zone").display(),
    )
}

/// A port that was free for datagrams a moment ago; for streams it nearly always is too.
fn free_datagram_port() -> u16 {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    socket.local_addr().expect("bound").port()
}

const NAMED: &str = "/usr/sbin/named";
const KEY_NAME: &str = "externaldns";
/// It opens nothing but the zone of one test.
const KEY: &str = "cG9ydGN1bGxpcyBjb25mb3JtYW5jZSB0ZXN0IGtleSE=";
const START: Duration = Duration::from_secs(30);
const DEADLINE: Duration = Duration::from_secs(10);
