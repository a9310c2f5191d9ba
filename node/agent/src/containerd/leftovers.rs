//! What a killed run leaves behind: a containerd, shims, mounts, cgroups. Found by what is ours in them, never by name alone.

use crate::layout::Layout;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Ends the containerd of an earlier run that was killed, if it is still there.
pub(super) async fn end_former(layout: &Layout) {
    let Ok(pid) = std::fs::read_to_string(layout.containerd_pid()) else {
        return;
    };
    let Ok(pid) = pid.trim().parse::<u32>() else {
        return;
    };
    // The number may belong to somebody else by now.
    let ours = layout.containerd_config().display().to_string();
    if command_line(pid).contains(&ours) {
        tracing::info!("ending the containerd of an earlier run (process {pid})");
        end(pid).await;
    }
    let _ = std::fs::remove_file(layout.containerd_pid());
}

/// Ends shims that serve our socket: after a regular stop there is none.
pub(super) async fn end_shims(layout: &Layout) {
    let socket = layout.containerd_socket().display().to_string();
    for pid in processes() {
        let arguments = command_line(pid);
        let shim = arguments
            .first()
            .is_some_and(|program| program.ends_with("containerd-shim-runc-v2"));
        if shim && arguments.contains(&socket) {
            end(pid).await;
        }
    }
}

/// Removes what must not outlive the process: mounts, the runtime's state, the socket.
pub(super) fn clear(layout: &Layout) {
    unmount_below(&layout.containerd_state());
    unmount_below(&layout.containerd_root());
    let _ = std::fs::remove_dir_all(layout.containerd_state());
    let _ = std::fs::remove_file(layout.containerd_pid());
    let socket = layout.containerd_socket();
    let _ = std::fs::remove_file(&socket);
    let _ = std::fs::remove_file(socket.with_extension("sock.ttrpc"));
    if let Some(parent) = socket.parent().filter(|parent| parent.starts_with("/run")) {
        let _ = std::fs::remove_dir(parent);
    }
}

/// Unmounts everything below a directory, deepest first.
pub(crate) fn unmount_below(directory: &Path) {
    for point in mounts_below(directory).iter().rev() {
        if let Err(error) = umount2(point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            tracing::warn!("cannot unmount {}: {error}", point.display());
        }
    }
}

/// What is mounted at or below a directory, sorted by path.
pub(crate) fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let Ok(directory) = std::fs::canonicalize(directory) else {
        return Vec::new();
    };
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(unescape(point)));
    let mut points: Vec<_> = points
        .filter(|point| point.starts_with(&directory))
        .collect();
    points.sort();
    points
}

/// Removes our part of every cgroup hierarchy, from the leaves up; what still has a process in it stays.
pub(crate) fn remove_cgroups(path: &str) {
    let path = path.trim_start_matches('/');
    let mut roots = vec![PathBuf::from("/sys/fs/cgroup")];
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten();
    roots.extend(
        hierarchies
            .map(|entry| entry.path())
            .filter(|path| path.is_dir()),
    );
    for root in roots {
        remove_tree(&root.join(path));
    }
}

fn remove_tree(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
    {
        remove_tree(&entry.path());
    }
    let _ = std::fs::remove_dir(directory);
}

pub(super) fn terminate(pid: u32) {
    signal(pid, Signal::SIGTERM);
}

async fn end(pid: u32) {
    signal(pid, Signal::SIGTERM);
    let deadline = Instant::now() + PATIENCE;
    while Path::new("/proc").join(pid.to_string()).exists() {
        if Instant::now() > deadline {
            signal(pid, Signal::SIGKILL);
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn signal(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

fn processes() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn command_line(pid: u32) -> Vec<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes
        .split(|byte| *byte == 0)
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect()
}

/// The kernel writes blanks in mount points as octal.
fn unescape(point: &str) -> String {
    point
        .replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

/// Before SIGKILL follows SIGTERM.
const PATIENCE: Duration = Duration::from_secs(5);
