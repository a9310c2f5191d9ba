//! Events about pods: written off the path of work, repeated ones counted, chatter limited.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use portcullis_pod::notices::Notice;
use serde_json::json;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Hands notices to the writer. Cheap to clone, never waits.
#[derive(Clone)]
pub(crate) struct Recorder(mpsc::Sender<Entry>);

/// What the writer reads.
pub(crate) type Inbox = mpsc::Receiver<Entry>;

pub(crate) struct Entry {
    pod: Arc<Pod>,
    notice: Notice,
    at: Timestamp,
}

impl Recorder {
    pub(crate) fn new() -> (Self, Inbox) {
        let (sender, inbox) = mpsc::channel(BACKLOG);
        (Recorder(sender), inbox)
    }

    pub(crate) fn record(&self, pod: &Arc<Pod>, mut notice: Notice) {
        if notice.message.len() > LONGEST_MESSAGE {
            let end = notice.message.floor_char_boundary(LONGEST_MESSAGE);
            notice.message.truncate(end);
        }
        let entry = Entry {
            pod: pod.clone(),
            notice,
            at: Timestamp::now(),
        };
        if self.0.try_send(entry).is_err() {
            tracing::debug!("an event was dropped: the writer is behind");
        }
    }
}

/// Writes until every recorder is gone.
pub(crate) async fn write(client: kube::Client, node: String, mut inbox: Inbox) {
    let mut writer = Writer {
        client,
        node,
        known: HashMap::new(),
        order: VecDeque::new(),
        allowances: HashMap::new(),
        last_stamp: 0,
    };
    while let Some(entry) = inbox.recv().await {
        if !writer.allows(&entry.pod) {
            continue;
        }
        match tokio::time::timeout(ANSWER_LIMIT, writer.write(&entry)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!("an event was not written: {error}"),
            Err(_) => tracing::debug!("an event was not written in time"),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Identity {
    uid: String,
    notice: Notice,
}

struct Known {
    name: String,
    count: i32,
}

struct Allowance {
    tokens: f64,
    at: Instant,
}

struct Writer {
    client: kube::Client,
    node: String,
    known: HashMap<Identity, Known>,
    /// Oldest first.
    order: VecDeque<Identity>,
    /// By pod uid.
    allowances: HashMap<String, Allowance>,
    last_stamp: i128,
}

impl Writer {
    /// Upstream's spam filter: a burst per pod, then one at a time.
    fn allows(&mut self, pod: &Pod) -> bool {
        let now = Instant::now();
        let refill = |allowance: &Allowance| {
            let refilled = now.duration_since(allowance.at).as_secs_f64() / REFILL.as_secs_f64();
            (allowance.tokens + refilled).min(BURST)
        };
        if self.allowances.len() >= REMEMBERED {
            // A full allowance says no more than none at all.
            self.allowances
                .retain(|_, allowance| refill(allowance) < BURST);
        }
        if self.allowances.len() >= REMEMBERED {
            return false;
        }
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let allowance = self.allowances.entry(uid).or_insert(Allowance {
            tokens: BURST,
            at: now,
        });
        allowance.tokens = refill(allowance);
        allowance.at = now;
        if allowance.tokens < 1.0 {
            return false;
        }
        allowance.tokens -= 1.0;
        true
    }

    async fn write(&mut self, entry: &Entry) -> kube::Result<()> {
        let namespace = entry.pod.metadata.namespace.as_deref();
        let events = Api::<Event>::namespaced(self.client.clone(), namespace.unwrap_or("default"));
        let identity = Identity {
            uid: entry.pod.metadata.uid.clone().unwrap_or_default(),
            notice: entry.notice.clone(),
        };
        if let Some(known) = self.known.get_mut(&identity) {
            known.count = known.count.saturating_add(1);
            let patch = json!({"count": known.count, "lastTimestamp": Time(entry.at)});
            let patched = events
                .patch(&known.name, &PatchParams::default(), &Patch::Merge(patch))
                .await;
            match patched {
                Ok(_) => return Ok(()),
                // Expired meanwhile: a new one begins.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        let event = self.event(entry);
        events.create(&PostParams::default(), &event).await?;
        self.remember(identity, event.metadata.name.unwrap_or_default());
        Ok(())
    }

    fn remember(&mut self, identity: Identity, name: String) {
        let known = Known { name, count: 1 };
        if self.known.insert(identity.clone(), known).is_none() {
            self.order.push_back(identity);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    fn event(&mut self, entry: &Entry) -> Event {
        let Entry { pod, notice, at } = entry;
        // Upstream's names, which are unique as long as no two carry one time.
        self.last_stamp = at.as_nanosecond().max(self.last_stamp + 1);
        let meta = &pod.metadata;
        let name = meta.name.as_deref().unwrap_or_default();
        let kind = if notice.warning { "Warning" } else { "Normal" };
        let field_path = pod.spec.as_ref().and_then(|spec| notice.field_path(spec));
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{:x}", self.last_stamp)),
                namespace: meta.namespace.clone(),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Pod".into()),
                namespace: meta.namespace.clone(),
                name: meta.name.clone(),
                uid: meta.uid.clone(),
                resource_version: meta.resource_version.clone(),
                field_path,
            },
            type_: Some(kind.into()),
            reason: Some(notice.reason.into()),
            message: Some(notice.message.clone()),
            count: Some(1),
            first_timestamp: Some(Time(*at)),
            last_timestamp: Some(Time(*at)),
            source: Some(EventSource {
                component: Some(COMPONENT.into()),
                host: Some(self.node.clone()),
            }),
            reporting_component: Some(COMPONENT.into()),
            reporting_instance: Some(self.node.clone()),
            ..Event::default()
        }
    }
}

const COMPONENT: &str = "kubelet";
/// Notices waiting to be written; further ones are dropped, because Events are best effort.
const BACKLOG: usize = 512;
/// Events remembered for counting, and pods for limiting; of the former the oldest is forgotten.
const REMEMBERED: usize = 4096;
/// Events one pod may cause at once, and how often one more (upstream's spam filter).
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_secs(300);
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// The API's limit for an Event's message, bytes.
const LONGEST_MESSAGE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::PodSpec;
    use kube::client::Body;
    use portcullis_pod::notices;
    use std::convert::Infallible;
    use std::sync::Mutex;

    fn pod() -> Arc<Pod> {
        let metadata = ObjectMeta {
            name: Some("web".into()),
            namespace: Some("default".into()),
            uid: Some("u".into()),
            ..ObjectMeta::default()
        };
        Arc::new(Pod {
            metadata,
            spec: Some(PodSpec::default()),
            status: None,
        })
    }

    /// A client that answers everything with its own body, and the methods it was called with.
    fn mirror() -> (kube::Client, Arc<Mutex<Vec<String>>>) {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let seen = calls.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            seen.lock().unwrap().push(request.method().to_string());
            let event = json!({"metadata": {"name": "e"}, "involvedObject": {}});
            let answer = http::Response::new(Body::from(event.to_string().into_bytes()));
            async move { Ok::<_, Infallible>(answer) }
        });
        (kube::Client::new(service, "default"), calls)
    }

    #[tokio::test]
    async fn the_same_is_counted_and_a_flood_is_cut() {
        let ((client, calls), (recorder, inbox)) = (mirror(), Recorder::new());
        for _ in 0..100 {
            recorder.record(&pod(), notices::started("c"));
        }
        drop(recorder);
        write(client, "node".into(), inbox).await;
        let calls = calls.lock().unwrap();
        assert_eq!(calls.len(), BURST as usize);
        assert_eq!(calls[0], "POST");
        assert!(calls[1..].iter().all(|method| method == "PATCH"));
    }

    #[tokio::test]
    async fn a_writer_that_is_behind_holds_nobody_up() {
        let (recorder, mut inbox) = Recorder::new();
        let long = notices::unhealthy(
            "c",
            portcullis_pod::probe::ProbeKind::Liveness,
            &"é".repeat(2000),
        );
        for _ in 0..2 * BACKLOG {
            recorder.record(&pod(), long.clone());
        }
        drop(recorder);
        let mut waiting = 0;
        while let Some(entry) = inbox.recv().await {
            assert!(entry.notice.message.len() <= LONGEST_MESSAGE);
            waiting += 1;
        }
        assert_eq!(waiting, BACKLOG);
    }
}
