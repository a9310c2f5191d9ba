//! Images into containerd through its own client, which reads an archive from standard input.

use super::NAMESPACE;
use crate::error::{Error, Result};
use crate::layout::Layout;
use std::io;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};

/// Runs `ctr images import`, fed by `archive`. Its complaint is the error; only without one `archive`'s is.
pub(super) async fn run(
    ctr: &Path,
    layout: &Layout,
    snapshotter: &str,
    archive: impl FnOnce(ChildStdin) -> io::Result<()> + Send + 'static,
) -> Result<()> {
    let socket = layout.containerd_socket().display().to_string();
    let not_run = |source| Error::Run {
        program: "ctr".into(),
        source,
    };
    let mut child = Command::new(ctr)
        .args(["--address", &socket, "--namespace", NAMESPACE])
        .args(["images", "import", "--snapshotter", snapshotter, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(not_run)?;
    let import = tokio::task::spawn_blocking(move || {
        let written = archive(child.stdin.take().expect("stdin was asked for"));
        child.wait_with_output().map(|output| (written, output))
    });
    let ended = import.await.expect("the import does not panic");
    let (written, output) = ended.map_err(not_run)?;
    let failed = |message: String| Error::Failed {
        program: "ctr images import".into(),
        message,
    };
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(failed(complaint.trim().into()));
    }
    written.map_err(|error| failed(error.to_string()))
}
