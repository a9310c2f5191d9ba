//! Pods of this node: one watch, one worker per pod, and the runtime's events handed to the right one.

mod check;
mod configuration;
mod crew;
mod disclaim;
mod execute;
mod fetch;
mod inbox;
mod observe;
mod pace;
mod probe_tls;
mod probing;
mod pull;
mod refresh;
mod report;
mod settle;
mod start;
mod sub_path;
mod volume_files;
mod worker;

pub(crate) use disclaim::disclaim;

use crate::cri::labels;
use crate::events::RuntimeEvent;
use crate::node::Node;
use crew::{Crew, Left};
use futures::TryStreamExt;
use inbox::Message;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use worker::{Index, Worker};

/// Pods of this node by uid, for whoever answers questions about them.
#[derive(Clone, Default)]
pub(crate) struct Directory(Arc<Mutex<BTreeMap<String, Arc<Pod>>>>);

impl Directory {
    pub(crate) fn all(&self) -> Vec<Arc<Pod>> {
        self.0
            .lock()
            .expect("no holder of this lock panics")
            .values()
            .cloned()
            .collect()
    }

    pub(crate) fn find(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let fits = |pod: &Arc<Pod>| {
            pod.metadata.namespace.as_deref() == Some(namespace)
                && pod.metadata.name.as_deref() == Some(name)
        };
        self.all().into_iter().find(fits)
    }

    fn by_uid(&self, uid: &str) -> Option<Arc<Pod>> {
        self.0
            .lock()
            .expect("no holder of this lock panics")
            .get(uid)
            .cloned()
    }

    fn set(&self, uid: &str, pod: Arc<Pod>) {
        self.0
            .lock()
            .expect("no holder of this lock panics")
            .insert(uid.to_owned(), pod);
    }

    fn remove(&self, uid: &str) {
        self.0
            .lock()
            .expect("no holder of this lock panics")
            .remove(uid);
    }
}

/// Runs the pods that the API assigns to this node; ends only when dropped, and then leaves them as they are.
pub(crate) async fn run(
    node: Arc<Node>,
    directory: Directory,
    events: mpsc::Receiver<RuntimeEvent>,
) {
    let config = watcher::Config::default().fields(&format!("spec.nodeName={}", node.name));
    let pods = watcher(Api::<Pod>::all(node.client.clone()), config).default_backoff();
    let supervisor = Supervisor {
        node,
        directory,
        index: Index::default(),
        workers: HashMap::new(),
        running: Crew::default(),
        listing: HashSet::new(),
    };
    supervisor.run(pods, events).await;
}

struct Supervisor {
    node: Arc<Node>,
    directory: Directory,
    index: Index,
    workers: HashMap<String, mpsc::Sender<Message>>,
    running: Crew,
    /// Uids seen in the list under way.
    listing: HashSet<String>,
}

impl Supervisor {
    async fn run(
        mut self,
        pods: impl futures::Stream<Item = watcher::Result<Event<Pod>>>,
        mut events: mpsc::Receiver<RuntimeEvent>,
    ) {
        futures::pin_mut!(pods);
        loop {
            tokio::select! {
                event = pods.try_next() => match event {
                    Ok(Some(event)) => self.take(event).await,
                    Ok(None) => return,
                    Err(error) => tracing::debug!("watching pods: {error}"),
                },
                Some(event) = events.recv() => self.hand_over(event).await,
                Some(left) = self.running.next() => match left {
                    Left::Done(uid) => self.forget(&uid),
                    Left::Panicked(uid) => self.replace(uid),
                },
            }
        }
    }

    async fn take(&mut self, event: Event<Pod>) {
        match event {
            Event::Init => self.listing.clear(),
            Event::InitApply(pod) => {
                self.listing.extend(pod.uid());
                self.apply(pod).await;
            }
            Event::InitDone => self.settle_list().await,
            Event::Apply(pod) => self.apply(pod).await,
            Event::Delete(pod) => self.gone(pod.uid().as_deref().unwrap_or_default()).await,
        }
    }

    async fn apply(&mut self, pod: Pod) {
        let Some(uid) = pod.uid() else { return };
        let pod = Arc::new(pod);
        self.directory.set(&uid, pod.clone());
        if self.workers.contains_key(&uid) {
            self.tell(&uid, Message::Pod(pod)).await;
        } else {
            self.start(uid, pod, true);
        }
    }

    /// The list is complete: pods that were not in it are gone, and so are the owners of sandboxes nobody knows.
    async fn settle_list(&mut self) {
        let gone: Vec<_> = self
            .workers
            .keys()
            .filter(|uid| !self.listing.contains(*uid))
            .cloned()
            .collect();
        for uid in gone {
            self.gone(&uid).await;
        }
        let sandboxes = match self.node.cri.sandboxes(None).await {
            Ok(sandboxes) => sandboxes,
            Err(error) => return tracing::warn!("cannot look for left-over pods: {error}"),
        };
        for sandbox in sandboxes {
            let Some(pod) = orphan(&sandbox.labels) else {
                continue;
            };
            let uid = pod.uid().unwrap_or_default();
            if !self.workers.contains_key(&uid) {
                tracing::info!("removing the left-over pod {}", pod.name_any());
                self.start(uid, Arc::new(pod), false);
            }
        }
    }

    /// A worker that panicked held nothing that the runtime and the API do not know as well.
    fn replace(&mut self, uid: String) {
        tracing::error!("the worker of the pod {uid} panicked; another takes over");
        let known = self.directory.by_uid(&uid);
        let in_api = known.is_some();
        let pod = known.unwrap_or_else(|| Arc::new(stand_in(&uid)));
        self.start_after(REPLACE_PAUSE, uid, pod, in_api);
    }

    fn start(&mut self, uid: String, pod: Arc<Pod>, in_api: bool) {
        self.start_after(Duration::ZERO, uid, pod, in_api);
    }

    fn start_after(&mut self, pause: Duration, uid: String, pod: Arc<Pod>, in_api: bool) {
        let (sender, inbox) = mpsc::channel(INBOX);
        let worker = Worker::new(
            self.node.clone(),
            pod,
            in_api,
            inbox,
            sender.clone(),
            self.index.clone(),
        );
        self.workers.insert(uid.clone(), sender);
        self.running.spawn(uid, pause, worker.run());
    }

    async fn gone(&mut self, uid: &str) {
        self.directory.remove(uid);
        self.tell(uid, Message::Gone).await;
    }

    fn forget(&mut self, uid: &str) {
        self.workers.remove(uid);
        self.directory.remove(uid);
    }

    async fn hand_over(&mut self, event: RuntimeEvent) {
        let owner = |id: &str| {
            let index = self.index.lock().expect("no holder of this lock panics");
            index.get(id).cloned()
        };
        let everyone = || self.workers.keys().cloned().collect::<Vec<_>>();
        match event {
            RuntimeEvent::Resync => {
                for uid in everyone() {
                    self.tell(&uid, Message::Look).await;
                }
            }
            RuntimeEvent::Ended(id) => {
                // A container can end before its worker has seen it; then only the worker can tell.
                let owners = owner(&id).map_or_else(everyone, |uid| vec![uid]);
                for uid in owners {
                    self.tell(&uid, Message::Ended(id.clone())).await;
                }
            }
            RuntimeEvent::Changed(id) => {
                if let Some(uid) = owner(&id) {
                    self.tell(&uid, Message::Look).await;
                }
            }
        }
    }

    async fn tell(&self, uid: &str, message: Message) {
        if let Some(worker) = self.workers.get(uid) {
            // A worker that has just ended needs no message.
            let _ = worker.send(message).await;
        }
    }
}

/// A stand-in for a pod of which only the runtime knows.
fn orphan(found: &BTreeMap<String, String>) -> Option<Pod> {
    let label = |name: &str| found.get(name).cloned();
    let metadata = ObjectMeta {
        name: label(labels::POD_NAME),
        namespace: label(labels::POD_NAMESPACE),
        uid: Some(label(labels::POD_UID)?),
        ..ObjectMeta::default()
    };
    Some(Pod {
        metadata,
        spec: Some(PodSpec::default()),
        status: None,
    })
}

/// Enough of a pod to take it down when nothing but its uid is left.
fn stand_in(uid: &str) -> Pod {
    let metadata = ObjectMeta {
        uid: Some(uid.to_owned()),
        ..ObjectMeta::default()
    };
    Pod {
        metadata,
        spec: Some(PodSpec::default()),
        status: None,
    }
}

/// How long after a panic the pod's next worker starts.
const REPLACE_PAUSE: Duration = Duration::from_secs(1);
/// Messages a busy worker may be behind; then whoever sends waits.
const INBOX: usize = 64;
