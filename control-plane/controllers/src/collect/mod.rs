//! Garbage collection: the graph of all kinds discovery knows, and the loop that acts on it.

pub(crate) mod discovery;
mod watches;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Request;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::core::PartialObjectMeta;
use portcullis_reconcile::garbage::{self, Graph, Presence};
use portcullis_reconcile::{Plan, Resource, Target};

use crate::actor::Controller;
use crate::execute::item;
use crate::informer::{Change, Informer, Watched};
use crate::queue::Queue;
use discovery::Catalog;
pub(crate) use watches::{Gates, Watches};

/// The graph, shared by everything that feeds it.
#[derive(Clone)]
pub(crate) struct SharedGraph {
    graph: Arc<Mutex<Graph>>,
    queue: Arc<Queue<String>>,
}

impl SharedGraph {
    pub fn new(queue: &Arc<Queue<String>>) -> Self {
        Self {
            graph: Arc::default(),
            queue: Arc::clone(queue),
        }
    }

    /// Feeds the graph from a typed watch, so that kind needs no second one.
    pub fn follow<K: Watched>(&self, informer: &Informer<K>) -> Resource {
        let resource = Resource::of::<K>();
        let (shared, kind) = (self.clone(), resource.clone());
        informer.subscribe(move |change| match change {
            Change::Applied { new, .. } => {
                shared.apply(&kind, k8s_openapi::Metadata::metadata(&**new))
            }
            Change::Deleted(last) => {
                shared.remove(
                    k8s_openapi::Metadata::metadata(&**last)
                        .uid
                        .as_deref()
                        .unwrap_or_default(),
                );
            }
        });
        resource
    }

    pub fn apply(&self, resource: &Resource, metadata: &ObjectMeta) {
        let affected = self.lock().apply(resource, metadata);
        affected.into_iter().for_each(|uid| self.queue.add(uid));
    }

    pub fn remove(&self, uid: &str) {
        let affected = self.lock().remove(uid);
        affected.into_iter().for_each(|uid| self.queue.add(uid));
    }

    fn lock(&self) -> MutexGuard<'_, Graph> {
        self.graph.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The controller over the graph. Keys are UIDs.
pub(crate) struct Collector {
    pub client: Client,
    pub graph: SharedGraph,
    pub catalog: Arc<Catalog>,
}

impl Collector {
    /// Asks the API server whether an owner the graph does not know exists.
    async fn look_up(
        &self,
        owner: &OwnerReference,
        namespace: Option<&str>,
    ) -> Result<Presence, kube::Error> {
        let discovered = self.catalog.discovered().await?;
        let Some(kind) = discovered.find(&owner.api_version, &owner.kind) else {
            return Ok(Presence::Unresolvable);
        };
        if kind.namespaced && namespace.is_none() {
            return Ok(Presence::Unresolvable);
        }
        let target = Target {
            resource: kind.resource.clone(),
            namespace: namespace.filter(|_| kind.namespaced).map(str::to_owned),
            name: owner.name.clone(),
            uid: None,
        };
        let request = Request::get(item(&target)).header(http::header::ACCEPT, METADATA);
        let request = request.body(Vec::new()).map_err(kube::Error::HttpError)?;
        match self.client.request::<PartialObjectMeta>(request).await {
            Ok(found) if found.metadata.uid.as_deref() == Some(&owner.uid) => Ok(Presence::Present),
            Ok(_) => Ok(Presence::Absent),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Presence::Absent),
            Err(error) => Err(error),
        }
    }
}

impl Controller for Collector {
    type Key = String;
    const NAME: &'static str = "garbage-collector";

    async fn plan(&self, uid: &String, now: Timestamp) -> Result<Plan, kube::Error> {
        let (suspects, namespace) = {
            let graph = self.graph.lock();
            let namespace = graph
                .node(uid)
                .and_then(|node| node.target.namespace.clone());
            (garbage::suspects(&graph, uid), namespace)
        };
        let mut presence = BTreeMap::new();
        for owner in suspects {
            let found = self.look_up(&owner, namespace.as_deref()).await?;
            presence.insert(owner.uid, found);
        }
        let graph = self.graph.lock();
        Ok(garbage::plan(
            &garbage::Observed {
                graph: &graph,
                uid,
                presence: &presence,
            },
            now,
        ))
    }
}

const METADATA: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
