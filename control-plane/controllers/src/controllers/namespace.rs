//! Namespace deletion: woken by namespaces and by the end of the last pods; looks at contents live, by discovery.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Request;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::core::{ObjectList, PartialObjectMeta};
use portcullis_reconcile::namespace::{self, Content};
use portcullis_reconcile::{Plan, Resource};

use crate::actor::Controller;
use crate::collect::discovery::Catalog;
use crate::execute::collection;
use crate::informer::{Change, Informer, Key};
use crate::queue::Queue;

/// Objects of one kind looked at per step; more are found by the next.
const PAGE: usize = 500;

pub(crate) struct Namespaces {
    client: Client,
    namespaces: Arc<Informer<Namespace>>,
    catalog: Arc<Catalog>,
}

impl Namespaces {
    pub fn new(
        client: Client,
        namespaces: &Arc<Informer<Namespace>>,
        pods: &Arc<Informer<Pod>>,
        catalog: &Arc<Catalog>,
        queue: &Arc<Queue<Key>>,
    ) -> Self {
        let wake = Arc::clone(queue);
        namespaces.subscribe(move |change| {
            if namespace::needs_emptying(change.object()) {
                wake.add(Key::of(&change.object().metadata));
            }
        });
        let (wake, known) = (Arc::clone(queue), Arc::clone(namespaces));
        pods.subscribe(move |change| {
            let Change::Deleted(pod) = change else { return };
            let key = Key::new("", pod.metadata.namespace.clone().unwrap_or_default());
            if known
                .find(&key)
                .is_some_and(|namespace| namespace::needs_emptying(&namespace))
            {
                wake.add(key);
            }
        });
        Self {
            client,
            namespaces: Arc::clone(namespaces),
            catalog: Arc::clone(catalog),
        }
    }

    async fn content(&self, resource: &Resource, namespace: &str) -> Result<Content, kube::Error> {
        let uri = format!("{}?limit={PAGE}", collection(resource, Some(namespace)));
        let request = Request::get(uri).header(http::header::ACCEPT, METADATA_LIST);
        let request = request.body(Vec::new()).map_err(kube::Error::HttpError)?;
        let list: ObjectList<PartialObjectMeta> = self.client.request(request).await?;
        let mut finalizers = BTreeMap::new();
        for name in list
            .items
            .iter()
            .flat_map(|item| item.metadata.finalizers.iter().flatten())
        {
            *finalizers.entry(name.clone()).or_insert(0) += 1;
        }
        Ok(Content {
            resource: resource.clone(),
            remaining: list.items.len(),
            finalizers,
        })
    }
}

impl Controller for Namespaces {
    type Key = Key;
    const NAME: &'static str = "namespace-controller";

    async fn plan(&self, key: &Key, now: Timestamp) -> Result<Plan, kube::Error> {
        let Some(found) = self
            .namespaces
            .find(key)
            .filter(|found| namespace::needs_emptying(found))
        else {
            return Ok(Plan::default());
        };
        let discovered = self.catalog.discovered().await?;
        let mut contents = Vec::new();
        let mut content_failures = Vec::new();
        for kind in discovered
            .kinds
            .iter()
            .filter(|kind| kind.namespaced && kind.can("list"))
        {
            match self.content(&kind.resource, &key.name).await {
                Ok(content) => contents.push(content),
                // Withdrawn since discovery: nothing is left of it.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 405) => {}
                Err(error) => content_failures.push(format!("{}: {error}", kind.resource.plural)),
            }
        }
        let observed = namespace::Observed {
            namespace: &found,
            contents: &contents,
            discovery_failures: &discovered.failures,
            content_failures: &content_failures,
        };
        Ok(namespace::plan(&observed, now))
    }
}

const METADATA_LIST: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
