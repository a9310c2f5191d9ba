//! Events for people: written off the path of work, repeated ones counted, chatter limited.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use portcullis_reconcile::{Note, Severity, Target};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;

/// Notes waiting to be written; further ones are dropped, because Events are best effort.
const BACKLOG: usize = 1_024;
/// Events remembered for counting; the oldest is forgotten and starts a new Event.
const REMEMBERED: usize = 4_096;
/// Events one object may cause at once, and how often one more (upstream's spam filter).
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_secs(300);

/// Hands notes to the writer. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Recorder {
    component: &'static str,
    notes: mpsc::Sender<Entry>,
}

struct Entry {
    component: &'static str,
    note: Note,
}

impl Recorder {
    /// The recorder and its writer, which runs until told to stop.
    pub fn new(
        client: Client,
        shutdown: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (notes, inbox) = mpsc::channel(BACKLOG);
        let writer = Writer {
            client,
            inbox,
            known: HashMap::new(),
            order: VecDeque::new(),
            allowances: HashMap::new(),
        };
        (
            Self {
                component: "controller-manager",
                notes,
            },
            async move {
                shutdown.run_until_cancelled(writer.run()).await;
            },
        )
    }

    /// The same recorder speaking for another component.
    pub fn for_component(&self, component: &'static str) -> Self {
        Self {
            component,
            notes: self.notes.clone(),
        }
    }

    pub fn record(&self, note: Note) {
        if self
            .notes
            .try_send(Entry {
                component: self.component,
                note,
            })
            .is_err()
        {
            tracing::debug!("event dropped: the writer is behind");
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Identity {
    component: &'static str,
    about: Target,
    reason: &'static str,
    message: String,
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
    client: Client,
    inbox: mpsc::Receiver<Entry>,
    known: HashMap<Identity, Known>,
    order: VecDeque<Identity>,
    allowances: HashMap<Target, Allowance>,
}

impl Writer {
    async fn run(mut self) {
        while let Some(Entry { component, note }) = self.inbox.recv().await {
            if !self.allowed(&note.about) {
                continue;
            }
            if let Err(error) = self.write(component, note).await {
                tracing::debug!(%error, "event not written");
            }
        }
    }

    fn allowed(&mut self, about: &Target) -> bool {
        if self.allowances.len() >= REMEMBERED {
            self.allowances.clear();
        }
        let now = Instant::now();
        let allowance = self.allowances.entry(about.clone()).or_insert(Allowance {
            tokens: BURST,
            at: now,
        });
        let refilled = now.duration_since(allowance.at).as_secs_f64() / REFILL.as_secs_f64();
        allowance.tokens = (allowance.tokens + refilled).min(BURST);
        allowance.at = now;
        if allowance.tokens < 1.0 {
            return false;
        }
        allowance.tokens -= 1.0;
        true
    }

    async fn write(&mut self, component: &'static str, note: Note) -> kube::Result<()> {
        let namespace = note
            .about
            .namespace
            .clone()
            .unwrap_or_else(|| "default".to_owned());
        let events: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let Note {
            about,
            severity,
            reason,
            message,
        } = note;
        let identity = Identity {
            component,
            about,
            reason,
            message,
        };
        let now = clock::now();
        if let Some(known) = self.known.get_mut(&identity) {
            known.count += 1;
            let patch = json!({"count": known.count, "lastTimestamp": Time(now)});
            match events
                .patch(&known.name, &PatchParams::default(), &Patch::Merge(patch))
                .await
            {
                Ok(_) => return Ok(()),
                // Expired meanwhile: start a new one.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        let name = format!("{}.{:016x}", identity.about.name, rand::random::<u64>());
        let event = event(&identity, severity, &namespace, name.clone(), Time(now));
        events.create(&PostParams::default(), &event).await?;
        self.remember(identity, name);
        Ok(())
    }

    fn remember(&mut self, identity: Identity, name: String) {
        if self
            .known
            .insert(identity.clone(), Known { name, count: 1 })
            .is_none()
        {
            self.order.push_back(identity);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

fn event(
    identity: &Identity,
    severity: Severity,
    namespace: &str,
    name: String,
    now: Time,
) -> Event {
    let Identity {
        component,
        about,
        reason,
        message,
    } = identity;
    Event {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some(about.resource.api_version()),
            kind: Some(about.resource.kind.to_string()),
            namespace: about.namespace.clone(),
            name: Some(about.name.clone()),
            uid: about.uid.clone(),
            ..ObjectReference::default()
        },
        type_: Some(match severity {
            Severity::Normal => "Normal".to_owned(),
            Severity::Warning => "Warning".to_owned(),
        }),
        reason: Some((*reason).to_owned()),
        message: Some(message.clone()),
        count: Some(1),
        first_timestamp: Some(now.clone()),
        last_timestamp: Some(now),
        source: Some(EventSource {
            component: Some((*component).to_owned()),
            host: None,
        }),
        reporting_component: Some((*component).to_owned()),
        ..Event::default()
    }
}
