//! Keeps container logs from filling the disk: rotates what grew too large, removes what is kept no longer.

use crate::cri::generated::{Container, ContainerState};
use crate::cri::labels;
use crate::node::Node;
use jiff::Timestamp;
use portcullis_pod::log_files::{LogFile, upkeep};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// Looks after all logs until dropped.
pub(crate) async fn run(node: Arc<Node>) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let root = node.layout.all_logs();
        let looked = tokio::task::spawn_blocking(move || look(&root)).await;
        let large = looked.unwrap_or_default();
        if large.is_empty() {
            continue;
        }
        match node.cri.containers(None).await {
            Ok(containers) => {
                for file in large {
                    rotate(&node, &containers, &file).await;
                }
            }
            Err(error) => tracing::warn!("logs cannot be rotated: {error}"),
        }
    }
}

/// Removes what is kept no longer; the files that are too large, which only the runtime can change.
fn look(root: &Path) -> Vec<PathBuf> {
    let pods = children(root);
    let containers = pods.iter().flat_map(|pod| children(pod));
    let mut large = Vec::new();
    for directory in containers {
        let files: Vec<_> = children(&directory).iter().filter_map(log_file).collect();
        let upkeep = upkeep(&files);
        for name in upkeep.remove {
            let file = directory.join(name);
            if let Err(error) = std::fs::remove_file(&file) {
                tracing::warn!("cannot remove the old log {}: {error}", file.display());
            }
        }
        large.extend(
            upkeep
                .rotate
                .map(|run| directory.join(format!("{run}.log"))),
        );
    }
    large
}

/// Renames the file and has the runtime begin another one. What is written meanwhile goes to the old one: nothing is lost.
async fn rotate(node: &Node, containers: &[Container], file: &Path) {
    // It may have ended or gone since: then nobody writes to it any more.
    let Some(container) = containers.iter().find(|found| writes(node, found, file)) else {
        return;
    };
    let old = format!("{}.{}", file.display(), stamp());
    let is_there = file.exists();
    if is_there && let Err(error) = std::fs::rename(file, &old) {
        tracing::warn!("cannot rotate the log {}: {error}", file.display());
        return;
    }
    if let Err(error) = node.cri.reopen_log(&container.id).await {
        tracing::warn!("cannot rotate the log {}: {error}", file.display());
        // The runtime may have begun another one before it failed.
        if is_there && !file.exists() {
            let _ = std::fs::rename(&old, file);
        }
    }
}

fn writes(node: &Node, container: &Container, file: &Path) -> bool {
    let label = |name: &str| container.labels.get(name).map_or("", String::as_str);
    let metadata = container.metadata.clone().unwrap_or_default();
    let pod = node.layout.logs(
        label(labels::POD_NAMESPACE),
        label(labels::POD_NAME),
        label(labels::POD_UID),
    );
    let own = pod
        .join(&metadata.name)
        .join(format!("{}.log", metadata.attempt));
    container.state == ContainerState::ContainerRunning as i32 && own == file
}

fn log_file(path: &PathBuf) -> Option<LogFile> {
    let name = path.file_name()?.to_str()?.to_owned();
    let bytes = std::fs::metadata(path).ok()?.len();
    Some(LogFile { name, bytes })
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// As upstream's, and sorting by time.
fn stamp() -> String {
    Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string()
}

/// The kubelet's `containerLogMonitorInterval`.
const LOOK_EVERY: Duration = Duration::from_secs(10);
