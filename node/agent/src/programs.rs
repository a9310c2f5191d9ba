//! Programs of the distribution that the node runs, and the Debian package each comes from.

use crate::error::{Error, Result};
use std::path::PathBuf;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;

/// Where each program was found.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub containerd: PathBuf,
    pub ctr: PathBuf,
    pub nft: PathBuf,
    pub ip: PathBuf,
    pub cni_plugins: PathBuf,
    /// The portmap plugin (hostPort) needs it.
    pub iptables: Option<PathBuf>,
}

impl Programs {
    /// Finds everything a private container runtime needs; the first that is missing is the error.
    pub(crate) fn find() -> Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        find("runc", "runc")?;
        find("containerd-shim-runc-v2", "containerd")?;
        let plugins = CNI_DIRECTORIES.iter().map(PathBuf::from);
        let mut plugins = plugins.filter(|directory| {
            CNI_PLUGINS
                .iter()
                .all(|plugin| directory.join(plugin).exists())
        });
        Ok(Programs {
            containerd: find("containerd", "containerd")?,
            ctr: find("ctr", "containerd")?,
            nft: find("nft", "nftables")?,
            ip: find("ip", "iproute2")?,
            cni_plugins: plugins.next().ok_or(Error::Missing {
                program: "the CNI plugins",
                package: "containernetworking-plugins",
            })?,
            iptables: on_path("iptables"),
        })
    }
}

/// One program, or the error that names its package.
pub(crate) fn find(program: &'static str, package: &'static str) -> Result<PathBuf> {
    on_path(program).ok_or(Error::Missing { program, package })
}

/// Runs a program to its end with `input` on its stdin; its stderr is the error.
pub(crate) async fn run(
    program: &std::path::Path,
    arguments: &[&str],
    input: &[u8],
) -> Result<Vec<u8>> {
    let name = || program.display().to_string();
    let started = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = started.map_err(|source| Error::Run {
        program: name(),
        source,
    })?;
    let stdin = child.stdin.take();
    let feed = async move {
        if let Some(mut stdin) = stdin {
            // A program that ends without reading says why on stderr.
            let _ = stdin.write_all(input).await;
        }
    };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    let output = output.map_err(|source| Error::Run {
        program: name(),
        source,
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let message = String::from_utf8_lossy(&output.stderr)
        .trim()
        .chars()
        .take(LONGEST_MESSAGE)
        .collect();
    Err(Error::Failed {
        program: name(),
        message,
    })
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let candidates = std::env::split_paths(&path)
        .chain(usual)
        .map(|directory| directory.join(program));
    candidates.into_iter().find(|candidate| candidate.is_file())
}

/// Debian's directory first, then upstream's.
const CNI_DIRECTORIES: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];
const CNI_PLUGINS: [&str; 3] = ["ptp", "host-local", "loopback"];
/// Of a program's complaint, characters kept in our error.
const LONGEST_MESSAGE: usize = 2000;
