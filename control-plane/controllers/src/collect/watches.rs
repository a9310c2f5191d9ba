//! Metadata-only watches of every discovered kind that no controller watches anyway.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, pin_mut};
use kube::core::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use portcullis_reconcile::Resource;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::SharedGraph;
use super::discovery::{Catalog, Kind};
use crate::informer::Pauses;

/// A definition is served a moment after it is stored; several often come together.
const SETTLE: Duration = Duration::from_millis(500);

/// Keeps one watch per discovered kind.
pub(crate) struct Watches {
    client: Client,
    graph: SharedGraph,
    catalog: Arc<Catalog>,
    /// Kinds the graph hears of through typed watches.
    covered: BTreeSet<Resource>,
    running: HashMap<Resource, Running>,
    /// Rung when the set of served kinds may have changed.
    changed: Arc<Notify>,
    gates: Gates,
}

/// The graph may be acted on when the typed caches and every metadata watch have been listed.
pub(crate) struct Gates {
    pub caches: watch::Receiver<bool>,
    pub graph: watch::Sender<bool>,
}

struct Running {
    stop: CancellationToken,
    synced: watch::Receiver<bool>,
}

impl Watches {
    pub fn new(
        client: Client,
        graph: SharedGraph,
        catalog: Arc<Catalog>,
        covered: BTreeSet<Resource>,
        gates: Gates,
    ) -> Self {
        Self {
            client,
            graph,
            catalog,
            covered,
            running: HashMap::new(),
            changed: Arc::default(),
            gates,
        }
    }

    /// Runs until told to stop; reports synced once every kind of the first discovery has been listed.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut tasks = JoinSet::new();
        shutdown
            .clone()
            .run_until_cancelled(self.follow(&mut tasks, &shutdown))
            .await;
        while tasks.join_next().await.is_some() {}
    }

    async fn follow(&mut self, tasks: &mut JoinSet<()>, shutdown: &CancellationToken) {
        loop {
            self.refresh(tasks, shutdown).await;
            for running in self.running.values_mut() {
                // An error means the watch was stopped: nothing more will come from it.
                let _ = running.synced.wait_for(|synced| *synced).await;
            }
            let _ = self.gates.caches.wait_for(|synced| *synced).await;
            self.gates.graph.send_replace(true);
            self.changed.notified().await;
            tokio::time::sleep(SETTLE).await;
            self.catalog.invalidate().await;
        }
    }

    /// Starts watches for new kinds, stops those of kinds no longer served.
    async fn refresh(&mut self, tasks: &mut JoinSet<()>, shutdown: &CancellationToken) {
        let mut pauses = Pauses::default();
        let discovered = loop {
            match self.catalog.discovered().await {
                Ok(discovered) => break discovered,
                Err(error) => {
                    tracing::debug!(%error, "discovery failed");
                    tokio::time::sleep(pauses.next()).await;
                }
            }
        };
        let collectable =
            |kind: &&Kind| kind.can("list") && kind.can("watch") && kind.can("delete");
        let wanted: Vec<&Kind> = discovered
            .kinds
            .iter()
            .filter(collectable)
            .filter(|kind| self.is_wanted(&kind.resource))
            .collect();
        // A group that did not answer may come back: its watches go on.
        if discovered.failures.is_empty() {
            self.running.retain(|resource, running| {
                let keep = wanted.iter().any(|kind| kind.resource == *resource);
                if !keep {
                    running.stop.cancel();
                }
                keep
            });
        }
        for kind in wanted {
            if !self.running.contains_key(&kind.resource) {
                let running = self.start(kind.resource.clone(), tasks, shutdown);
                self.running.insert(kind.resource.clone(), running);
            }
        }
    }

    fn is_wanted(&self, resource: &Resource) -> bool {
        let events = resource.group.is_empty() && resource.plural == "events";
        !events && !self.covered.contains(resource)
    }

    fn start(
        &self,
        resource: Resource,
        tasks: &mut JoinSet<()>,
        shutdown: &CancellationToken,
    ) -> Running {
        let stop = shutdown.child_token();
        let (report, synced) = watch::channel(false);
        let defines_kinds = matches!(
            &*resource.plural,
            "customresourcedefinitions" | "apiservices"
        );
        let one = Watch {
            client: self.client.clone(),
            graph: self.graph.clone(),
            resource,
            changed: defines_kinds.then(|| Arc::clone(&self.changed)),
            report,
            present: BTreeSet::new(),
        };
        let until = stop.clone();
        tasks.spawn(async move {
            until.run_until_cancelled(one.run()).await;
        });
        Running { stop, synced }
    }
}

/// The watch of one kind.
struct Watch {
    client: Client,
    graph: SharedGraph,
    resource: Resource,
    changed: Option<Arc<Notify>>,
    report: watch::Sender<bool>,
    /// UIDs in the graph from this watch.
    present: BTreeSet<String>,
}

type Partial = PartialObjectMeta<DynamicObject>;

impl Watch {
    async fn run(mut self) {
        let kind = ApiResource {
            group: self.resource.group.to_string(),
            version: self.resource.version.to_string(),
            api_version: self.resource.api_version(),
            kind: self.resource.kind.to_string(),
            plural: self.resource.plural.to_string(),
        };
        let api: Api<Partial> = Api::all_with(self.client.clone(), &kind);
        let events = watcher::watcher(api, watcher::Config::default());
        pin_mut!(events);
        let mut pauses = Pauses::default();
        let mut listed = BTreeSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    pauses.heard(&event);
                    self.take(event, &mut listed);
                }
                Err(error) => {
                    tracing::debug!(plural = %self.resource.plural, %error, "metadata watch interrupted");
                    // A kind that cannot be listed has nothing the graph could learn; it must not hold up the rest.
                    if is_unlistable(&error) {
                        self.report.send_replace(true);
                    }
                    tokio::time::sleep(pauses.next()).await;
                }
            }
        }
    }

    fn take(&mut self, event: Event<Partial>, listed: &mut BTreeSet<String>) {
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(object) => {
                listed.extend(object.metadata.uid.clone());
                self.apply(&object);
            }
            Event::InitDone => {
                let missed: Vec<String> = self.present.difference(listed).cloned().collect();
                missed.iter().for_each(|uid| self.remove(uid));
                listed.clear();
                self.report.send_replace(true);
            }
            Event::Apply(object) => {
                self.apply(&object);
                self.ring();
            }
            Event::Delete(object) => {
                self.remove(object.metadata.uid.as_deref().unwrap_or_default());
                self.ring();
            }
        }
    }

    fn apply(&mut self, object: &Partial) {
        self.present.extend(object.metadata.uid.clone());
        self.graph.apply(&self.resource, &object.metadata);
    }

    fn remove(&mut self, uid: &str) {
        self.present.remove(uid);
        self.graph.remove(uid);
    }

    fn ring(&self) {
        if let Some(changed) = &self.changed {
            changed.notify_one();
        }
    }
}

fn is_unlistable(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(kube::Error::Api(status))
    | watcher::Error::WatchStartFailed(kube::Error::Api(status))) = error
    else {
        return false;
    };
    matches!(status.code, 403..=406)
}
