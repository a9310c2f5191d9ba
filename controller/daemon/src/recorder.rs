//! Notices as Events on their Ingress: told once, counted when they come back, never more than the API server likes.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use portcullis_translate::{Notice, Severity};
use serde_json::json;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tracing::{debug, warn};

use crate::{leader::Leadership, publish::Outbox};

pub(crate) struct Recorder {
    client: Client,
    outbox: watch::Receiver<Arc<Outbox>>,
    leading: watch::Receiver<Leadership>,
    /// What has been told and still holds.
    told: HashSet<Notice>,
    queue: VecDeque<Notice>,
    written: HashMap<Notice, Written>,
    begun: bool,
}

/// An Event that exists: telling the same again counts it up.
struct Written {
    name: String,
    count: i32,
}

impl Recorder {
    pub(crate) fn new(
        client: Client,
        outbox: watch::Receiver<Arc<Outbox>>,
        leading: watch::Receiver<Leadership>,
    ) -> Self {
        Self {
            client,
            outbox,
            leading,
            told: HashSet::new(),
            queue: VecDeque::new(),
            written: HashMap::new(),
            begun: false,
        }
    }

    pub(crate) async fn run(mut self) {
        let mut next_write = Instant::now();
        loop {
            if self
                .leading
                .wait_for(|leading| leading.leads())
                .await
                .is_err()
            {
                return;
            }
            let outbox = self.outbox.borrow_and_update().clone();
            if outbox.begun {
                self.take(&outbox.notices);
            }
            while let Some(notice) = self.queue.pop_front() {
                sleep_until(next_write).await;
                if !self.leading.borrow().leads() {
                    self.queue.push_front(notice);
                    break;
                }
                next_write = Instant::now() + WRITE_INTERVAL;
                self.write(notice).await;
                if self.outbox.has_changed().unwrap_or(false) {
                    break;
                }
            }
            if !self.queue.is_empty() {
                continue;
            }
            if self.outbox.changed().await.is_err() {
                return;
            }
        }
    }

    /// Queues what is new. What is found at the start and is not a warning has been told by a former controller.
    fn take(&mut self, notices: &[Arc<[Notice]>]) {
        let now: HashSet<Notice> = notices.iter().flat_map(|all| all.iter().cloned()).collect();
        let first = !std::mem::replace(&mut self.begun, true);
        let mut new: Vec<&Notice> = now.difference(&self.told).collect();
        new.sort();
        for notice in new {
            if first && notice.severity == Severity::Normal {
                continue;
            }
            if self.queue.len() >= MAX_QUEUED {
                debug!(ingress = %notice.ingress, "too many Events at once, one is dropped");
                continue;
            }
            self.queue.push_back(notice.clone());
        }
        self.queue.retain(|notice| now.contains(notice));
        self.told = now;
    }

    async fn write(&mut self, notice: Notice) {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &notice.ingress.namespace);
        let identity = Notice {
            generation: 0,
            ..notice.clone()
        };
        if let Some(written) = self.written.get_mut(&identity) {
            written.count += 1;
            let patch = json!({"count": written.count, "lastTimestamp": Time(Timestamp::now())});
            let patched = api
                .patch(
                    &written.name,
                    &PatchParams::default(),
                    &Patch::Merge(&patch),
                )
                .await;
            match patched {
                Ok(_) => return,
                // Events expire: then it is told as a new one.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return warn!(%error, "cannot write an Event"),
            }
        }
        let event = event(&notice, Timestamp::now());
        let name = event.metadata.name.clone().unwrap_or_default();
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => {
                if self.written.len() >= MAX_REMEMBERED {
                    self.written.clear();
                }
                self.written.insert(identity, Written { name, count: 1 });
            }
            Err(error) => warn!(ingress = %notice.ingress, %error, "cannot write an Event"),
        }
    }
}

fn event(notice: &Notice, now: Timestamp) -> Event {
    let time = Some(Time(now));
    let mut message = notice.message.clone();
    if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE_CHARS) {
        message.truncate(end);
    }
    Event {
        metadata: ObjectMeta {
            // client-go's form: the object's name and the time in hexadecimal.
            name: Some(format!(
                "{}.{:x}",
                notice.ingress.name,
                now.as_nanosecond().unsigned_abs()
            )),
            namespace: Some(notice.ingress.namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("networking.k8s.io/v1".to_owned()),
            kind: Some("Ingress".to_owned()),
            namespace: Some(notice.ingress.namespace.clone()),
            name: Some(notice.ingress.name.clone()),
            uid: Some(notice.uid.clone()),
            ..ObjectReference::default()
        },
        reason: Some(notice.reason.to_string()),
        message: Some(message),
        type_: Some(notice.severity.to_string()),
        count: Some(1),
        first_timestamp: time.clone(),
        last_timestamp: time,
        source: Some(EventSource {
            component: Some(COMPONENT.to_owned()),
            ..EventSource::default()
        }),
        reporting_component: Some(COMPONENT.to_owned()),
        ..Event::default()
    }
}

const COMPONENT: &str = "portcullis-ingress-controller";
/// 20 Events a second.
const WRITE_INTERVAL: Duration = Duration::from_millis(50);
/// Waiting Events; more at once are dropped (they stand in the log).
const MAX_QUEUED: usize = 1000;
/// Events whose names are remembered for counting; beyond it all are forgotten and told as new ones.
const MAX_REMEMBERED: usize = 4096;
/// The API server refuses longer messages (1 KiB; characters may have four bytes).
const MAX_MESSAGE_CHARS: usize = 250;
