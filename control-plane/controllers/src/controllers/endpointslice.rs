//! EndpointSlices: woken by Services, the pods they select, the slices themselves, and nodes that change zone.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::jiff::Timestamp;
use portcullis_reconcile::expectations::Expectations;
use portcullis_reconcile::{Action, Plan, endpointslice, selector};

use crate::actor::Controller;
use crate::execute::{ActionError, Done};
use crate::informer::{Change, Informer, Key};
use crate::queue::Queue;

type Outstanding = Mutex<HashMap<Key, Expectations>>;

pub(crate) struct EndpointSlices {
    services: Arc<Informer<Service>>,
    pods: Arc<Informer<Pod>>,
    slices: Arc<Informer<EndpointSlice>>,
    nodes: Arc<Informer<Node>>,
    outstanding: Arc<Outstanding>,
}

fn lock(outstanding: &Outstanding) -> MutexGuard<'_, HashMap<Key, Expectations>> {
    outstanding.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EndpointSlices {
    pub fn new(
        services: &Arc<Informer<Service>>,
        pods: &Arc<Informer<Pod>>,
        slices: &Arc<Informer<EndpointSlice>>,
        nodes: &Arc<Informer<Node>>,
        queue: &Arc<Queue<Key>>,
    ) -> Self {
        let outstanding: Arc<Outstanding> = Arc::default();
        let (wake, forget) = (Arc::clone(queue), Arc::clone(&outstanding));
        services.subscribe(move |change| {
            let key = Key::of(&change.object().metadata);
            if matches!(change, Change::Deleted(_)) {
                lock(&forget).remove(&key);
            }
            wake.add(key);
        });
        let (wake, expected) = (Arc::clone(queue), Arc::clone(&outstanding));
        slices.subscribe(move |change| {
            if let Change::Applied { old: None, new } = change
                && let Some(key) = service_of(new)
                && let Some(expectations) = lock(&expected).get_mut(&key)
            {
                expectations.creation_settled();
            }
            // A slice given to another Service is missing where it was.
            for key in change.versions().filter_map(|slice| service_of(slice)) {
                wake.add(key);
            }
        });
        let (wake, known) = (Arc::clone(queue), Arc::clone(services));
        pods.subscribe(move |change| {
            for service in known.in_namespace(
                change
                    .object()
                    .metadata
                    .namespace
                    .as_deref()
                    .unwrap_or_default(),
            ) {
                if change.versions().any(|pod| selects(&service, pod)) {
                    wake.add(Key::of(&service.metadata));
                }
            }
        });
        let (wake, known) = (Arc::clone(queue), Arc::clone(services));
        nodes.subscribe(move |change| {
            let mut zones = change.versions().map(|node| zone(node));
            let first = zones.next();
            if zones.any(|zone| Some(zone) != first) {
                known
                    .all()
                    .iter()
                    .for_each(|service| wake.add(Key::of(&service.metadata)));
            }
        });
        Self {
            services: Arc::clone(services),
            pods: Arc::clone(pods),
            slices: Arc::clone(slices),
            nodes: Arc::clone(nodes),
            outstanding,
        }
    }
}

fn zone(node: &Node) -> Option<&String> {
    node.metadata
        .labels
        .as_ref()?
        .get("topology.kubernetes.io/zone")
}

fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let name = slice
        .metadata
        .labels
        .as_ref()?
        .get(endpointslice::SERVICE_NAME)?;
    endpointslice::is_ours(slice, name)
        .then(|| Key::new(slice.metadata.namespace.clone().unwrap_or_default(), name))
}

fn selects(service: &Service, pod: &Pod) -> bool {
    let wanted = service
        .spec
        .as_ref()
        .and_then(|spec| spec.selector.as_ref())
        .filter(|wanted| !wanted.is_empty());
    wanted.is_some_and(|wanted| selector::matches_map(wanted, pod.metadata.labels.as_ref()))
}

impl Controller for EndpointSlices {
    type Key = Key;
    const NAME: &'static str = "endpoint-slice-controller";

    async fn plan(&self, key: &Key, now: Timestamp) -> Result<Plan, kube::Error> {
        // Before the slices are read: what settles in between is then visible in them.
        let expectations = lock(&self.outstanding)
            .get(key)
            .cloned()
            .unwrap_or_default();
        let service = self.services.find(key);
        let zones: BTreeMap<String, String> = self
            .nodes
            .all()
            .iter()
            .filter_map(|node| Some((node.metadata.name.clone()?, zone(node)?.clone())))
            .collect();
        let observed = endpointslice::Observed {
            name: &key.name,
            service: service.as_deref(),
            pods: &self.pods.in_namespace(&key.namespace),
            slices: &self.slices.in_namespace(&key.namespace),
            zones: &zones,
            expectations: &expectations,
        };
        Ok(endpointslice::plan(&observed, now))
    }

    fn starting(&self, key: &Key, plan: &Plan, now: Timestamp) {
        let creations = plan
            .actions
            .iter()
            .filter(|action| matches!(action, Action::Create(_)))
            .count();
        if creations > 0 {
            lock(&self.outstanding)
                .entry(key.clone())
                .or_default()
                .expect(creations, [], now);
        }
    }

    fn settled(&self, key: &Key, action: &Action, outcome: &Result<Done, ActionError>) {
        if let (Action::Create(_), Err(_), Some(expectations)) =
            (action, outcome, lock(&self.outstanding).get_mut(key))
        {
            expectations.creation_settled();
        }
    }
}
