//! A containerd of our own: own root, state, socket and configuration; found again after a crash, ended with us.

mod configuration;
mod import;
mod keeper;
mod leftovers;
mod load;

use crate::cri::Cri;
use crate::error::{Error, Result};
use crate::image::Archive;
use crate::layout::Layout;
use crate::programs::Programs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

pub(crate) use keeper::{Keeper, Recipe};
pub(crate) use leftovers::{mounts_below, remove_cgroups, unmount_below};
pub use load::load;

/// The running child.
pub(crate) struct Containerd {
    child: Child,
    layout: Layout,
    snapshotter: &'static str,
}

impl Containerd {
    /// Starts it, after ending one that an earlier, killed run of ours left behind; its containers run on and are adopted.
    pub(crate) async fn start(
        layout: &Layout,
        programs: &Programs,
        pause_image: &str,
    ) -> Result<Self> {
        leftovers::end_former(layout).await;
        let socket = layout.containerd_socket();
        let directories = [layout.containerd_root(), layout.containerd_state()];
        for directory in directories
            .iter()
            .map(|directory| directory.as_path())
            .chain(socket.parent())
        {
            std::fs::create_dir_all(directory).map_err(Error::file(directory))?;
        }
        let snapshotter = configuration::snapshotter(layout);
        let text = configuration::render(layout, programs, pause_image, snapshotter);
        std::fs::write(layout.containerd_config(), text)
            .map_err(Error::file(layout.containerd_config()))?;
        let log = std::fs::File::create(layout.containerd_log())
            .map_err(Error::file(layout.containerd_log()))?;
        let errors = log
            .try_clone()
            .map_err(Error::file(layout.containerd_log()))?;
        let child = with_inherited_limits(&programs.containerd)
            .arg("--config")
            .arg(layout.containerd_config())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            // Its own group: a Ctrl-C at the terminal must reach us first, then the pods, then it.
            .process_group(0)
            .spawn()
            .map_err(|source| Error::Run {
                program: "containerd".into(),
                source,
            })?;
        let pid = child.id().unwrap_or_default().to_string();
        std::fs::write(layout.containerd_pid(), pid)
            .map_err(Error::file(layout.containerd_pid()))?;
        Ok(Containerd {
            child,
            layout: layout.clone(),
            snapshotter,
        })
    }

    /// Connects as soon as it answers.
    pub(crate) async fn connect(&mut self) -> Result<Cri> {
        let deadline = Instant::now() + START_DEADLINE;
        let endpoint = format!("unix://{}", self.layout.containerd_socket().display());
        loop {
            if let Ok(mut cri) = Cri::connect(&endpoint).await
                && cri.version().await.is_ok()
            {
                return Ok(cri);
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.failed(format!("it ended ({status}): {}", self.last_complaint())));
            }
            if Instant::now() > deadline {
                return Err(self.failed(format!(
                    "it did not answer within {} s",
                    START_DEADLINE.as_secs()
                )));
            }
            tokio::time::sleep(START_POLL).await;
        }
    }

    /// Imports those images that it does not have yet in exactly this form.
    pub(crate) async fn import(
        &self,
        programs: &Programs,
        cri: &Cri,
        archive: Archive,
    ) -> Result<()> {
        let mut complete = true;
        for (name, id) in archive.ids() {
            complete &= cri.image_id(name).await?.as_deref() == Some(&id);
        }
        if complete {
            return Ok(());
        }
        import::run(&programs.ctr, &self.layout, self.snapshotter, move |out| {
            archive.write(std::io::BufWriter::new(out))
        })
        .await
    }

    /// Ends it. The caller has removed every pod before, so no shim is left to serve.
    pub(crate) async fn stop(mut self) {
        if let Some(pid) = self.child.id() {
            leftovers::terminate(pid);
        }
        if tokio::time::timeout(STOP_DEADLINE, self.child.wait())
            .await
            .is_err()
        {
            let _ = self.child.kill().await;
        }
        leftovers::end_shims(&self.layout).await;
        leftovers::clear(&self.layout);
    }

    fn failed(&self, reason: String) -> Error {
        Error::Containerd {
            reason,
            log: self.layout.containerd_log(),
        }
    }

    fn last_complaint(&self) -> String {
        let log = std::fs::read_to_string(self.layout.containerd_log()).unwrap_or_default();
        let complaint = log.lines().rev().find(|line| {
            line.contains("level=error")
                || line.contains("level=fatal")
                || line.starts_with("containerd:")
        });
        complaint
            .or(log.lines().last())
            .unwrap_or("no output")
            .to_owned()
    }
}

/// The containerd namespace that its CRI service works in.
pub(crate) const NAMESPACE: &str = "k8s.io";
/// It is up within 300 ms on an idle machine; a loaded one gets time.
/// What starts a program with the limit of open files that this process was given, not with the one that its data plane
/// has raised: containers inherit it. A shell sets it, because nothing but `unsafe` code could between fork and exec.
fn with_inherited_limits(program: &Path) -> Command {
    let Some(soft_limit) = portcullis_serve::inherited_soft_limit() else {
        return Command::new(program);
    };
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "ulimit -S -n \"$0\" && exec \"$@\""])
        .arg(soft_limit.to_string())
        .arg(program);
    command
}

const START_DEADLINE: Duration = Duration::from_secs(30);
const START_POLL: Duration = Duration::from_millis(20);
const STOP_DEADLINE: Duration = Duration::from_secs(10);
