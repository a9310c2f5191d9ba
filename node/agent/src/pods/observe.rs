//! Runtime state of one pod, in the planner's values.

use crate::cri::generated::{ContainerState as State, ContainerStatus, PodSandboxState};
use crate::cri::labels;
use crate::error::Result;
use crate::node::Node;
use jiff::Timestamp;
use portcullis_pod::{Container, ContainerState, Runtime, Sandbox};
use std::collections::HashMap;
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;

/// Remembers what cannot change any more, so that a look costs two calls and one per live container.
#[derive(Default)]
pub(crate) struct Observer {
    ended: HashMap<String, Container>,
    addresses: HashMap<String, Vec<IpAddr>>,
}

impl Observer {
    pub(crate) async fn look(&mut self, node: &Node, uid: &str) -> Result<Runtime> {
        let mut sandboxes = Vec::new();
        for found in node.cri.sandboxes(Some(uid)).await? {
            let ready = found.state == PodSandboxState::SandboxReady as i32;
            let ips = if ready {
                self.addresses(node, &found.id).await?
            } else {
                Vec::new()
            };
            let attempt = found.metadata.map_or(0, |metadata| metadata.attempt);
            sandboxes.push(Sandbox {
                id: found.id,
                attempt,
                ready,
                ips,
            });
        }
        let mut containers = Vec::new();
        for found in node.cri.containers(Some(uid)).await? {
            if let Some(ended) = self.ended.get(&found.id) {
                containers.push(ended.clone());
                continue;
            }
            let Some(status) = node.cri.container_status(&found.id).await? else {
                continue;
            };
            let container = container(node, uid, found.pod_sandbox_id, status);
            if matches!(container.state, ContainerState::Exited { .. }) {
                self.ended.insert(found.id, container.clone());
            }
            containers.push(container);
        }
        self.ended
            .retain(|id, _| containers.iter().any(|container| container.id == *id));
        self.addresses
            .retain(|id, _| sandboxes.iter().any(|sandbox| sandbox.id == *id));
        Ok(Runtime {
            sandboxes,
            containers,
        })
    }

    async fn addresses(&mut self, node: &Node, id: &str) -> Result<Vec<IpAddr>> {
        if let Some(known) = self.addresses.get(id) {
            return Ok(known.clone());
        }
        let network = node
            .cri
            .sandbox_status(id)
            .await?
            .and_then(|status| status.network);
        let Some(network) = network else {
            return Ok(Vec::new());
        };
        let more = network.additional_ips.into_iter().map(|ip| ip.ip);
        let ips: Vec<_> = std::iter::once(network.ip)
            .chain(more)
            .filter_map(|ip| ip.parse().ok())
            .collect();
        if !ips.is_empty() {
            self.addresses.insert(id.to_owned(), ips.clone());
        }
        Ok(ips)
    }
}

fn container(node: &Node, uid: &str, sandbox: String, status: ContainerStatus) -> Container {
    let metadata = status.metadata.unwrap_or_default();
    let streak = status
        .annotations
        .get(labels::STREAK)
        .and_then(|streak| streak.parse().ok());
    let state = match State::try_from(status.state) {
        Ok(State::ContainerCreated) => ContainerState::Created,
        Ok(State::ContainerRunning) => ContainerState::Running {
            started_at: time(status.started_at),
        },
        Ok(State::ContainerExited) => ContainerState::Exited {
            started_at: time(status.started_at),
            finished_at: time(status.finished_at),
            exit_code: status.exit_code,
            reason: status.reason,
            message: message(node, uid, &metadata.name, metadata.attempt).unwrap_or(status.message),
        },
        Ok(State::ContainerUnknown) | Err(_) => ContainerState::Unknown,
    };
    Container {
        id: status.id,
        name: metadata.name,
        sandbox,
        attempt: metadata.attempt,
        streak: streak.unwrap_or(metadata.attempt),
        image: status.image.map(|image| image.image).unwrap_or_default(),
        image_id: status.image_ref,
        state,
    }
}

/// What the container wrote to its termination message file.
fn message(node: &Node, uid: &str, name: &str, attempt: u32) -> Option<String> {
    beginning(&node.layout.termination_message(uid, name, attempt))
}

/// The container decides how long the file is.
fn beginning(file: &Path) -> Option<String> {
    let file = std::fs::File::open(file).ok()?;
    let mut text = Vec::new();
    file.take(LONGEST_MESSAGE).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    (!text.is_empty()).then_some(text)
}

fn time(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(nanoseconds.into()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Upstream's limit for a termination message, bytes.
const LONGEST_MESSAGE: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_message_is_read_in_part() {
        let endless = beginning(Path::new("/dev/zero")).unwrap();
        assert_eq!(endless.len(), 4096);
        assert_eq!(beginning(Path::new("/dev/null")), None);
    }
}
