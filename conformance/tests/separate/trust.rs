//! Who may talk to whom, and what a proxy holds.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{Apart, START, Stage, certificate, eventually, expect_pod, serve};

pub(crate) fn the_proxy_holds_no_api_credentials(stage: &Stage) {
    let _server = serve(&stage.kubectl, "trusted.test", "trusted");
    let apart = Apart::start(stage);
    expect_pod(&apart, "http://trusted.test/", "trusted", START);
    let proxy = apart.proxy.as_ref().and_then(|proxy| proxy.id());
    let proc = Path::new("/proc").join(proxy.expect("it runs").to_string());
    let kubeconfig = stage.cluster.ready.kubeconfig.display().to_string();
    for part in ["cmdline", "environ"] {
        let bytes = fs::read(proc.join(part)).expect("our own process");
        let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
        let lower = text.to_lowercase();
        for word in ["kubeconfig", "kubernetes", "token", &kubeconfig] {
            assert!(!lower.contains(word), "{word} in {part}: {text}");
        }
    }
    // It has no connection to the API server, and has opened nothing of it.
    let api = stage.cluster.ready.api.rsplit(':').next();
    let api: u16 = api.and_then(|port| port.parse().ok()).expect("a port");
    assert!(!peers(&proc).contains(&api), "connected to the API server");
    let data = stage.cluster.data_dir().display().to_string();
    let open: Vec<_> = descriptors(&proc)
        .into_iter()
        .filter(|target| target.starts_with(&data))
        .collect();
    assert!(open.is_empty(), "{open:?}");
    // What it is given does not open the API either: another authority issued it.
    let pki = apart.proxy_pki();
    let answer = portcullis_conformance::run_with_deadline(
        std::process::Command::new("curl")
            .args([
                "-sk",
                "--noproxy",
                "*",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
            ])
            .arg("--cert")
            .arg(pki.join("tls.crt"))
            .arg("--key")
            .arg(pki.join("tls.key"))
            .arg(format!("{}/api/v1/secrets", stage.cluster.ready.api)),
        "",
        START,
    );
    assert!(
        ["000", "401", "403"].contains(&answer.stdout.as_str()),
        "{answer:?}"
    );
}

pub(crate) fn a_bad_certificate_is_refused(stage: &Stage) {
    let _server = serve(&stage.kubectl, "certified.test", "certified");
    let mut apart = Apart::beside(&stage.cluster.ready.kubeconfig);
    apart.start_controller(&["--update-status=false"]);
    let pki = apart.proxy_pki();
    let file = |name: &str| pki.join(name);
    eventually(START, || match file("ca.crt").exists() {
        true => Ok(()),
        false => Err(apart.logs()),
    });
    let good = ["ca.crt", "tls.crt", "tls.key"]
        .map(|name| (name, fs::read(file(name)).expect("the controller wrote it")));
    let stranger = certificate(&["proxy.portcullis.dev"]);

    // A stranger's certificate: the controller refuses the proxy.
    fs::write(file("tls.crt"), &stranger.certificate_pem).expect("our own file");
    fs::write(file("tls.key"), stranger.key.pem()).expect("our own file");
    apart.start_proxy();
    eventually(START, || apart.proxy_logged("not following the controller"));
    expect_nothing(&apart);

    // Another authority: the proxy refuses the controller.
    let (_, certificate_of_proxy) = &good[1];
    let (_, key_of_proxy) = &good[2];
    fs::write(file("ca.crt"), &stranger.certificate_pem).expect("our own file");
    fs::write(file("tls.crt"), certificate_of_proxy).expect("our own file");
    fs::write(file("tls.key"), key_of_proxy).expect("our own file");
    eventually(START, || apart.proxy_logged("UnknownIssuer"));
    expect_nothing(&apart);

    // Files that hold their own are taken up without a restart.
    for (name, bytes) in &good {
        fs::write(file(name), bytes).expect("our own file");
    }
    expect_pod(&apart, "http://certified.test/", "certified", START);
}

/// Without a set there is no listener, and nothing is kept that could be served later.
#[track_caller]
fn expect_nothing(apart: &Apart) {
    let answer = apart.get("http://certified.test/").send();
    assert_eq!(answer.status, 0, "{answer:?}\n{}", apart.logs());
    let kept = apart.state_dir().join("published");
    assert!(!kept.exists(), "{}", kept.display());
}

fn descriptors(proc: &Path) -> Vec<String> {
    let entries = fs::read_dir(proc.join("fd")).expect("our own process");
    entries
        .filter_map(|entry| {
            let target = fs::read_link(entry.ok()?.path()).ok()?;
            Some(target.display().to_string())
        })
        .collect()
}

/// Ports at the other end of the process's TCP connections.
fn peers(proc: &Path) -> BTreeSet<u16> {
    let sockets: BTreeSet<_> = descriptors(proc)
        .iter()
        .filter_map(|target| {
            Some(
                target
                    .strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .to_owned(),
            )
        })
        .collect();
    let tables = ["net/tcp", "net/tcp6"].map(|name| fs::read_to_string(proc.join(name)));
    let lines: Vec<_> = tables
        .iter()
        .flatten()
        .flat_map(|text| text.lines())
        .collect();
    lines
        .iter()
        .filter_map(|line| {
            let cells: Vec<_> = line.split_whitespace().collect();
            let (peer, inode) = (cells.get(2)?, cells.get(9)?);
            let port = peer.rsplit(':').next()?;
            sockets
                .contains(*inode)
                .then(|| u16::from_str_radix(port, 16).ok())?
        })
        .collect()
}
