//! Services and EndpointSlices as the API has them, kept by two watches.

use futures::{Stream, TryStreamExt};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt, reflector::Lookup};
use kube::{Api, ResourceExt};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

type Kept<K> = BTreeMap<(String, String), Arc<K>>;

/// The newest state, and a signal when it changed.
pub(crate) struct ServiceStore {
    services: Mutex<Kept<Service>>,
    slices: Mutex<Kept<EndpointSlice>>,
    changed: watch::Sender<Synced>,
}

/// Which lists have been read once, and how many changes there were.
#[derive(Clone, Copy, Default)]
pub(crate) struct Synced {
    services: bool,
    slices: bool,
    changes: u64,
}

impl Synced {
    pub(crate) fn complete(&self) -> bool {
        self.services && self.slices
    }
}

impl ServiceStore {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(ServiceStore {
            services: Mutex::default(),
            slices: Mutex::default(),
            changed: watch::channel(Synced::default()).0,
        })
    }

    /// Watches both kinds; ends only when dropped.
    pub(crate) async fn follow(self: Arc<Self>, client: kube::Client) {
        let config = || watcher::Config::default();
        let services = watcher(Api::<Service>::all(client.clone()), config()).default_backoff();
        let slices = watcher(Api::<EndpointSlice>::all(client), config()).default_backoff();
        tokio::join!(
            self.keep(&self.services, services, |synced| synced.services = true),
            self.keep(&self.slices, slices, |synced| synced.slices = true),
        );
    }

    pub(crate) fn changes(&self) -> watch::Receiver<Synced> {
        self.changed.subscribe()
    }

    /// All Services, once they have been listed; `None` after a moment without an API.
    pub(crate) async fn services(&self) -> Option<Vec<Arc<Service>>> {
        let mut changes = self.changes();
        let listed = changes.wait_for(|synced| synced.services);
        tokio::time::timeout(SYNC_PATIENCE, listed)
            .await
            .ok()?
            .ok()?;
        let services = self.services.lock();
        let services = services.expect("no holder of this lock panics");
        Some(services.values().cloned().collect())
    }

    /// Everything the ruleset is rendered from.
    pub(crate) fn snapshot(&self) -> (Vec<Arc<Service>>, Vec<Arc<EndpointSlice>>) {
        let services = self
            .services
            .lock()
            .expect("no holder of this lock panics")
            .values()
            .cloned()
            .collect();
        let slices = self
            .slices
            .lock()
            .expect("no holder of this lock panics")
            .values()
            .cloned()
            .collect();
        (services, slices)
    }

    async fn keep<K>(
        &self,
        kept: &Mutex<Kept<K>>,
        events: impl Stream<Item = watcher::Result<Event<K>>>,
        synced: impl Fn(&mut Synced),
    ) where
        K: ResourceExt + Lookup,
    {
        let events = events.into_stream();
        futures::pin_mut!(events);
        let mut listing = Kept::new();
        loop {
            let event = match events.try_next().await {
                Ok(Some(event)) => event,
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!("watching Services: {error}");
                    continue;
                }
            };
            let mut listed = false;
            {
                let mut kept = kept.lock().expect("no holder of this lock panics");
                match event {
                    Event::Init => listing.clear(),
                    Event::InitApply(object) => {
                        drop(listing.insert(key(&object), Arc::new(object)))
                    }
                    Event::InitDone => {
                        *kept = std::mem::take(&mut listing);
                        listed = true;
                    }
                    Event::Apply(object) => drop(kept.insert(key(&object), Arc::new(object))),
                    Event::Delete(object) => drop(kept.remove(&key(&object))),
                }
            }
            self.changed.send_modify(|state| {
                state.changes += 1;
                if listed {
                    synced(state);
                }
            });
        }
    }
}

fn key(object: &impl ResourceExt) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

const SYNC_PATIENCE: Duration = Duration::from_secs(5);
