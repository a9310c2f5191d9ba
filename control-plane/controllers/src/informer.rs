//! One watch per kind: a store that everybody reads, and subscribers told of each change.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::{StreamExt, pin_mut};
use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Namespace (empty for cluster-scoped kinds) and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    pub fn of(metadata: &ObjectMeta) -> Self {
        Self::new(
            metadata.namespace.clone().unwrap_or_default(),
            metadata.name.clone().unwrap_or_default(),
        )
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// What a watch event changed.
pub(crate) enum Change<K> {
    Applied { old: Option<Arc<K>>, new: Arc<K> },
    Deleted(Arc<K>),
}

impl<K> Change<K> {
    /// The object after the change, or the last there was.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Applied { new, .. } => new,
            Self::Deleted(last) => last,
        }
    }

    /// Every version involved.
    pub fn versions(&self) -> impl Iterator<Item = &Arc<K>> {
        let (old, new) = match self {
            Self::Applied { old, new } => (old.as_ref(), new),
            Self::Deleted(last) => (None, last),
        };
        old.into_iter().chain([new])
    }
}

type Subscriber<K> = Box<dyn Fn(&Change<K>) + Send + Sync>;

/// The bounds every watched kind meets.
pub(crate) trait Watched:
    Resource<DynamicType = ()>
    + Metadata<Ty = ObjectMeta>
    + k8s_openapi::Resource
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<K> Watched for K where
    K: Resource<DynamicType = ()>
        + Metadata<Ty = ObjectMeta>
        + k8s_openapi::Resource
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// The cache of one kind.
pub(crate) struct Informer<K> {
    objects: RwLock<BTreeMap<Key, Arc<K>>>,
    subscribers: RwLock<Vec<Subscriber<K>>>,
    synced: watch::Sender<bool>,
}

impl<K: Watched> Informer<K> {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            objects: RwLock::default(),
            subscribers: RwLock::default(),
            synced: watch::Sender::new(false),
        })
    }

    /// Calls `subscriber` for every later change, on the watch task: it must be quick and must not block.
    pub fn subscribe(&self, subscriber: impl Fn(&Change<K>) + Send + Sync + 'static) {
        self.subscribers
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Box::new(subscriber));
    }

    pub fn find(&self, key: &Key) -> Option<Arc<K>> {
        self.objects
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .cloned()
    }

    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        let from = objects.range(Key::new(namespace, "")..);
        from.take_while(|(key, _)| key.namespace == namespace)
            .map(|(_, object)| Arc::clone(object))
            .collect()
    }

    pub fn all(&self) -> Vec<Arc<K>> {
        self.objects
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// Returns once the first list is complete.
    pub async fn synced(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Watches until told to stop.
    pub async fn run(
        self: Arc<Self>,
        client: Client,
        config: watcher::Config,
        shutdown: CancellationToken,
    ) {
        shutdown
            .run_until_cancelled(self.follow(client, config))
            .await;
    }

    async fn follow(&self, client: Client, config: watcher::Config) {
        let events = watcher::watcher(Api::<K>::all(client), config);
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
                    tracing::debug!(kind = <K as k8s_openapi::Resource>::KIND, %error, "watch interrupted");
                    tokio::time::sleep(pauses.next()).await;
                }
            }
        }
    }

    fn take(&self, event: Event<K>, listed: &mut BTreeSet<Key>) {
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(object) => {
                listed.insert(Key::of(object.metadata()));
                self.apply(object);
            }
            Event::InitDone => {
                let keys: Vec<Key> = self
                    .objects
                    .read()
                    .unwrap_or_else(PoisonError::into_inner)
                    .keys()
                    .cloned()
                    .collect();
                keys.iter()
                    .filter(|key| !listed.contains(key))
                    .for_each(|key| self.delete(key));
                listed.clear();
                self.synced.send_replace(true);
            }
            Event::Apply(object) => self.apply(object),
            Event::Delete(object) => self.delete(&Key::of(object.metadata())),
        }
    }

    fn apply(&self, mut object: K) {
        Metadata::metadata_mut(&mut object).managed_fields = None;
        let new = Arc::new(object);
        let key = Key::of(Metadata::metadata(&*new));
        let old = self
            .objects
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, Arc::clone(&new));
        // A recreated object under the same name: the old one's end was missed.
        let (old, replaced) = match old {
            Some(old) if Metadata::metadata(&*old).uid != Metadata::metadata(&*new).uid => {
                (None, Some(old))
            }
            old => (old, None),
        };
        if let Some(replaced) = replaced {
            self.publish(&Change::Deleted(replaced));
        }
        self.publish(&Change::Applied { old, new });
    }

    fn delete(&self, key: &Key) {
        let last = self
            .objects
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
        if let Some(last) = last {
            self.publish(&Change::Deleted(last));
        }
    }

    fn publish(&self, change: &Change<K>) {
        for subscriber in self
            .subscribers
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            subscriber(change);
        }
    }
}

/// How long to wait after each failure of a watch.
pub(crate) struct Pauses {
    next: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { next: FIRST_PAUSE }
    }
}

impl Pauses {
    /// The next pause; the one after it is twice as long.
    pub fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST_PAUSE);
        pause
    }

    /// Begins anew when the server said something. The watcher itself says `Init`, before each try of a list.
    pub fn heard<K>(&mut self, event: &Event<K>) {
        if !matches!(event, Event::Init) {
            self.next = FIRST_PAUSE;
        }
    }
}

/// An API server that is just starting answers soon; one that is gone is not hammered.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(50);
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_the_server_says_something() {
        let mut pauses = Pauses::default();
        for doublings in 0..4 {
            pauses.heard(&Event::<()>::Init);
            assert_eq!(pauses.next(), FIRST_PAUSE * (1 << doublings));
        }
        for _ in 0..8 {
            assert!(pauses.next() <= LONGEST_PAUSE);
        }
        assert_eq!(pauses.next(), LONGEST_PAUSE);
        pauses.heard(&Event::<()>::InitDone);
        assert_eq!(pauses.next(), FIRST_PAUSE);
    }
}
