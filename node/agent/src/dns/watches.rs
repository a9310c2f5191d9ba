//! The objects behind the zone, kept by four watches and published as they change.

use super::server::Published;
use arc_swap::ArcSwap;
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use portcullis_dns::{Change, Index, Object, ObjectKind};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Starts all of them. `complete` becomes true once every kind has been listed, and stays true: what is known is served
/// on while the API is away.
pub(crate) fn spawn_all(
    tasks: &mut JoinSet<()>,
    client: &Client,
    index: Index,
    zone: Arc<ArcSwap<Published>>,
    complete: watch::Sender<bool>,
) {
    let (changes, inbox) = mpsc::channel(MOST_WAITING_CHANGES);
    let feed = |kind| Feed {
        kind,
        changes: changes.clone(),
        listing: Vec::new(),
    };
    let namespaces = feed(ObjectKind::Namespace);
    tasks.spawn(namespaces.run::<Namespace>(client.clone(), Object::namespace));
    let services = feed(ObjectKind::Service);
    tasks.spawn(services.run::<Service>(client.clone(), Object::service));
    let slices = feed(ObjectKind::EndpointSlice);
    tasks.spawn(slices.run::<EndpointSlice>(client.clone(), Object::endpoint_slice));
    let pods = feed(ObjectKind::Pod);
    tasks.spawn(pods.run::<Pod>(client.clone(), Object::pod));
    tasks.spawn(keep(index, inbox, zone, complete));
}

/// One kind's watch.
struct Feed {
    kind: ObjectKind,
    changes: mpsc::Sender<Change>,
    /// A list that is still coming in: it replaces what was known only when it is whole.
    listing: Vec<Object>,
}

impl Feed {
    async fn run<K>(self, client: Client, reduce: fn(&K) -> Object)
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let events = watcher(Api::<K>::all(client), watcher::Config::default());
        self.follow(events.default_backoff(), reduce).await;
    }

    async fn follow<K>(
        mut self,
        events: impl Stream<Item = watcher::Result<Event<K>>>,
        reduce: fn(&K) -> Object,
    ) {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            let change = match event {
                Ok(Event::Init) => {
                    self.listing.clear();
                    continue;
                }
                Ok(Event::InitApply(object)) => {
                    self.listing.push(reduce(&object));
                    continue;
                }
                Ok(Event::InitDone) => Change::Relist {
                    kind: self.kind,
                    objects: std::mem::take(&mut self.listing),
                },
                Ok(Event::Apply(object)) => Change::Put(reduce(&object)),
                Ok(Event::Delete(object)) => Change::Delete(reduce(&object).key().clone()),
                Err(error) => {
                    tracing::warn!(kind = ?self.kind, %error, "watch failed, trying again");
                    continue;
                }
            };
            if self.changes.send(change).await.is_err() {
                return;
            }
        }
    }
}

/// Applies what comes, and publishes once per burst.
async fn keep(
    mut index: Index,
    mut inbox: mpsc::Receiver<Change>,
    zone: Arc<ArcSwap<Published>>,
    complete: watch::Sender<bool>,
) {
    let mut listed = BTreeSet::new();
    let mut burst = Vec::new();
    while inbox.recv_many(&mut burst, MOST_WAITING_CHANGES).await > 0 {
        for change in burst.drain(..) {
            if let Change::Relist { kind, .. } = &change {
                listed.insert(*kind);
            }
            index.apply(change, serial());
        }
        let is_complete = listed.len() == KINDS;
        zone.store(Arc::new(Published {
            zone: index.zone().clone(),
            is_complete,
        }));
        if is_complete {
            complete.send_replace(true);
        }
    }
}

/// Seconds since 1970, as operators of DNS expect it; it fits until 2106.
fn serial() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u32::try_from(now.map_or(0, |now| now.as_secs())).unwrap_or(u32::MAX)
}

const KINDS: usize = 4;
/// Beyond it the watches wait.
const MOST_WAITING_CHANGES: usize = 256;
