//! containerd's own event stream: which container has just started, ended or run out of memory.
//!
//! The CRI of containerd 1.6 has no events, and polling would cost processor time for nothing, so this one call goes to
//! containerd's native API. Its few messages are stated here rather than generated.

use crate::containerd::NAMESPACE;
use prost::Message;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;

/// What the runtime reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RuntimeEvent {
    /// The container with this id ended.
    Ended(String),
    /// Something else about it changed.
    Changed(String),
    /// Reports may have been missed: look at everything.
    Resync,
}

/// Forwards events until the receiver is gone. While the stream is down, a resync is reported once a second.
pub(crate) async fn follow(channel: Channel, events: mpsc::Sender<RuntimeEvent>) {
    loop {
        if events.send(RuntimeEvent::Resync).await.is_err() {
            return;
        }
        if let Err(status) = stream(&channel, &events).await {
            tracing::debug!("the runtime's event stream ended: {}", status.message());
        }
        tokio::time::sleep(RELIST).await;
    }
}

async fn stream(
    channel: &Channel,
    events: &mpsc::Sender<RuntimeEvent>,
) -> Result<(), tonic::Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    let unavailable =
        |error: tonic::transport::Error| tonic::Status::unavailable(error.to_string());
    client.ready().await.map_err(unavailable)?;
    let filters = vec![format!(
        "namespace=={NAMESPACE},topic~=\"^/tasks/(exit|oom|start)\""
    )];
    let request = tonic::Request::new(SubscribeRequest { filters });
    let path = PathAndQuery::from_static("/containerd.services.events.v1.Events/Subscribe");
    let codec = tonic_prost::ProstCodec::<SubscribeRequest, Envelope>::default();
    let mut answers = client
        .server_streaming(request, path, codec)
        .await?
        .into_inner();
    while let Some(envelope) = answers.message().await? {
        let Some(event) = decode(&envelope) else {
            continue;
        };
        if events.send(event).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn decode(envelope: &Envelope) -> Option<RuntimeEvent> {
    let body = envelope.event.as_ref()?.value.as_slice();
    if envelope.topic == "/tasks/exit" {
        let exit = TaskExit::decode(body).ok()?;
        // Processes that were started in it beside its own, as probes are, have ids of their own.
        let is_container = exit.id.is_empty() || exit.id == exit.container_id;
        return is_container.then_some(RuntimeEvent::Ended(exit.container_id));
    }
    // All task events carry the container's id in field 1.
    let id = TaskEvent::decode(body).ok()?.container_id;
    Some(RuntimeEvent::Changed(id))
}

#[derive(Clone, PartialEq, prost::Message)]
struct SubscribeRequest {
    #[prost(string, repeated, tag = "1")]
    filters: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Envelope {
    #[prost(string, tag = "3")]
    topic: String,
    #[prost(message, optional, tag = "4")]
    event: Option<prost_types::Any>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TaskEvent {
    #[prost(string, tag = "1")]
    container_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TaskExit {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(string, tag = "2")]
    id: String,
}

const RELIST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(topic: &str, event: &impl Message) -> Envelope {
        Envelope {
            topic: topic.into(),
            event: Some(prost_types::Any {
                type_url: String::new(),
                value: event.encode_to_vec(),
            }),
        }
    }

    #[test]
    fn only_the_end_of_a_containers_own_process_is_its_end() {
        let exit = |id: &str| TaskExit {
            container_id: "web".into(),
            id: id.into(),
        };
        let ended = Some(RuntimeEvent::Ended("web".into()));
        assert_eq!(decode(&envelope("/tasks/exit", &exit("web"))), ended);
        assert_eq!(decode(&envelope("/tasks/exit", &exit("probe"))), None);
    }

    #[test]
    fn a_start_is_a_change_whatever_follows_the_id() {
        #[derive(Clone, PartialEq, prost::Message)]
        struct TaskStart {
            #[prost(string, tag = "1")]
            container_id: String,
            #[prost(uint32, tag = "2")]
            pid: u32,
        }
        let start = TaskStart {
            container_id: "web".into(),
            pid: 7,
        };
        let changed = Some(RuntimeEvent::Changed("web".into()));
        assert_eq!(decode(&envelope("/tasks/start", &start)), changed);
    }
}
