//! One watch per kind and namespace; each speaks to the publisher in whole lists and single changes.

use std::{fmt::Debug, time::Duration};

use futures::StreamExt;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        core::v1::{Node, Pod, Secret, Service},
        discovery::v1::EndpointSlice,
        networking::v1::{Ingress, IngressClass},
    },
};
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{
        WatchStreamExt,
        utils::Backoff,
        watcher::{self, Event},
    },
};
use portcullis_translate::{Change, Kind, Object, ObjectKey, ObjectRef};
use serde::de::DeserializeOwned;
use tokio::{sync::mpsc, task::JoinSet, time::sleep};
use tracing::warn;

use crate::config::Config;

pub(crate) struct Report {
    /// Which watch speaks.
    pub watch: usize,
    pub change: Change,
}

/// Starts all watches and returns how many there are.
pub(crate) fn spawn_all(
    tasks: &mut JoinSet<()>,
    client: &Client,
    config: &Config,
    reports: &mpsc::Sender<Report>,
) -> usize {
    let mut spawn = Spawn {
        tasks,
        client,
        reports,
        count: 0,
    };
    spawn.watch(
        Api::<IngressClass>::all(client.clone()),
        Kind::IngressClass,
        None,
        Object::IngressClass,
        watcher::Config::default(),
    );
    for scope in each(&config.watch_namespaces) {
        spawn.scoped::<Ingress>(Kind::Ingress, &scope, Object::Ingress);
        spawn.scoped::<Service>(Kind::Service, &scope, Object::Service);
        spawn.scoped::<EndpointSlice>(Kind::EndpointSlice, &scope, Object::EndpointSlice);
    }
    let secrets = match config.secret_namespaces.is_empty() {
        true => &config.watch_namespaces,
        false => &config.secret_namespaces,
    };
    for scope in each(secrets) {
        spawn.scoped::<Secret>(Kind::Secret, &scope, Object::Secret);
    }
    spawn.published(config);
    spawn.count
}

fn each(namespaces: &[String]) -> Vec<Option<String>> {
    match namespaces {
        [] => vec![None],
        named => named.iter().cloned().map(Some).collect(),
    }
}

struct Spawn<'a> {
    tasks: &'a mut JoinSet<()>,
    client: &'a Client,
    reports: &'a mpsc::Sender<Report>,
    count: usize,
}

impl Spawn<'_> {
    /// What only tells which addresses to publish.
    fn published(&mut self, config: &Config) {
        let settings = &config.settings;
        if !settings.publish_addresses.is_empty() {
            return;
        }
        let scopes = &config.watch_namespaces;
        if let Some(ObjectKey { namespace, name }) = &settings.publish_service {
            if !scopes.is_empty() && !scopes.contains(namespace) {
                let api = Api::<Service>::namespaced(self.client.clone(), namespace);
                let one = watcher::Config::default().fields(&format!("metadata.name={name}"));
                let scope = Some(namespace.clone());
                self.watch(api, Kind::Service, scope, Object::Service, one);
            }
            return;
        }
        if let (Some(proxies), Some(_)) = (&config.proxies, settings.publish_nodes) {
            let api = Api::<Pod>::namespaced(self.client.clone(), &proxies.namespace);
            let some = watcher::Config::default().labels(&proxies.labels);
            let scope = Some(proxies.namespace.clone());
            self.watch(api, Kind::Pod, scope, Object::Pod, some);
            let nodes = Api::<Node>::all(self.client.clone());
            let all = watcher::Config::default();
            self.watch(nodes, Kind::Node, None, Object::Node, all);
        }
    }

    fn scoped<K>(&mut self, kind: Kind, scope: &Option<String>, wrap: fn(Box<K>) -> Object)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let api = match scope {
            None => Api::all(self.client.clone()),
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
        };
        self.watch(api, kind, scope.clone(), wrap, watcher::Config::default());
    }

    fn watch<K>(
        &mut self,
        api: Api<K>,
        kind: Kind,
        namespace: Option<String>,
        wrap: fn(Box<K>) -> Object,
        selection: watcher::Config,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let feed = Feed {
            watch: self.count,
            kind,
            namespace,
            reports: self.reports.clone(),
            listing: Vec::new(),
            has_listed: false,
            is_forbidden: false,
        };
        self.count += 1;
        self.tasks.spawn(feed.run(api, wrap, selection));
    }
}

struct Feed {
    watch: usize,
    kind: Kind,
    namespace: Option<String>,
    reports: mpsc::Sender<Report>,
    /// A list that is still coming in: it replaces what was known only when it is whole.
    listing: Vec<Object>,
    /// A whole list, or its absence, has been reported.
    has_listed: bool,
    /// The API server has refused, which has been logged.
    is_forbidden: bool,
}

impl Feed {
    async fn run<K>(mut self, api: Api<K>, wrap: fn(Box<K>) -> Object, selection: watcher::Config)
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let events = watcher::watcher(api, selection).backoff(Pause::default());
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            let change = match event {
                Ok(event) => {
                    self.is_forbidden = false;
                    self.take(event, wrap)
                }
                Err(error) => self.missed(&error).await,
            };
            let Some(change) = change else {
                continue;
            };
            self.has_listed = true;
            let report = Report {
                watch: self.watch,
                change,
            };
            if self.reports.send(report).await.is_err() {
                return;
            }
        }
    }

    /// IngressClasses and nodes belong to the cluster: a controller with Roles alone may not see them and works without.
    /// What was seen once stays: a role that is lost for a moment must not take the routes away.
    async fn missed(&mut self, error: &watcher::Error) -> Option<Change> {
        let kind = self.kind;
        let is_spared = matches!(kind, Kind::IngressClass | Kind::Node);
        if !is_spared || !is_forbidden(error) {
            warn!(?kind, %error, "watch failed, trying again");
            return None;
        }
        if !self.is_forbidden {
            let instead = match kind {
                Kind::IngressClass => "an Ingress is ours when it names our class, --ingress-class",
                _ => "the statuses stay as they are",
            };
            warn!(?kind, %error, "may not be watched: {instead}");
            self.is_forbidden = true;
        }
        if self.has_listed {
            sleep(FORBIDDEN_PAUSE).await;
            return None;
        }
        Some(Change::Hidden(kind))
    }

    fn take<K: Resource<DynamicType = ()>>(
        &mut self,
        event: Event<K>,
        wrap: fn(Box<K>) -> Object,
    ) -> Option<Change> {
        match event {
            Event::Init => {
                self.listing.clear();
                None
            }
            Event::InitApply(object) => {
                self.listing.push(wrap(Box::new(object)).strip());
                None
            }
            Event::InitDone => Some(Change::Relist {
                kind: self.kind,
                namespace: self.namespace.clone(),
                objects: std::mem::take(&mut self.listing),
            }),
            Event::Apply(object) => Some(Change::Put(wrap(Box::new(object)).strip())),
            Event::Delete(object) => Some(Change::Delete(ObjectRef {
                kind: self.kind,
                key: ObjectKey::new(object.namespace().unwrap_or_default(), object.name_any()),
            })),
        }
    }
}

fn is_forbidden(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 403,
        watcher::Error::WatchError(status) => status.code == 403,
        _ => false,
    }
}

/// Doubles from a pause that nobody notices to one that spares an ailing API server.
pub(crate) struct Pause {
    next: Duration,
}

impl Default for Pause {
    fn default() -> Self {
        Self { next: FIRST_PAUSE }
    }
}

impl Iterator for Pause {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST_PAUSE);
        Some(pause)
    }
}

impl Backoff for Pause {
    fn reset(&mut self) {
        *self = Self::default();
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Roles change by hand, seldom.
const FORBIDDEN_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
