//! Load balancers: woken by the Service itself, by all else that wants or has its ports, and by nodes.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::jiff::Timestamp;
use portcullis_reconcile::endpointslice::SERVICE_NAME;
use portcullis_reconcile::{Plan, loadbalancer};

use crate::actor::Controller;
use crate::informer::{Change, Informer, Key};
use crate::queue::Queue;

pub(crate) struct LoadBalancers {
    services: Arc<Informer<Service>>,
    nodes: Arc<Informer<Node>>,
    pods: Arc<Informer<Pod>>,
    slices: Arc<Informer<EndpointSlice>>,
}

impl LoadBalancers {
    pub fn new(
        services: &Arc<Informer<Service>>,
        nodes: &Arc<Informer<Node>>,
        pods: &Arc<Informer<Pod>>,
        slices: &Arc<Informer<EndpointSlice>>,
        queue: &Arc<Queue<Key>>,
    ) -> Self {
        let wake_all = {
            let (wake, known) = (Arc::clone(queue), Arc::clone(services));
            move || {
                let ours = known.all().into_iter();
                let ours = ours.filter(|service| loadbalancer::is_ours(service));
                ours.for_each(|service| wake.add(Key::of(&service.metadata)));
            }
        };
        let (wake, others) = (Arc::clone(queue), wake_all.clone());
        services.subscribe(move |change| {
            // Also one that is balanced no more: something of it may be left.
            wake.add(Key::of(&change.object().metadata));
            if change
                .versions()
                .any(|service| loadbalancer::is_ours(service))
            {
                others();
            }
        });
        let others = wake_all.clone();
        nodes.subscribe(move |change| {
            if !is_heartbeat(change) {
                others();
            }
        });
        pods.subscribe(move |change| {
            if change.versions().any(|pod| has_host_port(pod)) {
                wake_all();
            }
        });
        let (wake, known) = (Arc::clone(queue), Arc::clone(services));
        slices.subscribe(move |change| {
            let metadata = &change.object().metadata;
            let labels = metadata.labels.as_ref();
            let name = labels.and_then(|labels| labels.get(SERVICE_NAME));
            let Some(name) = name else { return };
            let key = Key::new(metadata.namespace.clone().unwrap_or_default(), name);
            if known.find(&key).is_some_and(|s| loadbalancer::is_ours(&s)) {
                wake.add(key);
            }
        });
        Self {
            services: Arc::clone(services),
            nodes: Arc::clone(nodes),
            pods: Arc::clone(pods),
            slices: Arc::clone(slices),
        }
    }
}

/// Nothing that concerns load balancers: same annotations, same addresses, as ready as before.
fn is_heartbeat(change: &Change<Node>) -> bool {
    let Change::Applied {
        old: Some(old),
        new,
    } = change
    else {
        return false;
    };
    let of = |node: &Node| {
        let status = node.status.clone().unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default().into_iter();
        let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
        let ready = ready.next().map(|condition| condition.status);
        (node.metadata.annotations.clone(), status.addresses, ready)
    };
    of(old) == of(new)
}

fn has_host_port(pod: &Pod) -> bool {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports.any(|port| port.host_port.is_some())
}

impl Controller for LoadBalancers {
    type Key = Key;
    const NAME: &'static str = "service-controller";

    async fn plan(&self, key: &Key, now: Timestamp) -> Result<Plan, kube::Error> {
        let Some(service) = self.services.find(key) else {
            return Ok(Plan::default());
        };
        let observed = loadbalancer::Observed {
            service: &service,
            services: &self.services.all(),
            nodes: &self.nodes.all(),
            pods: &self.pods.all(),
            slices: &self.slices.in_namespace(&key.namespace),
        };
        Ok(loadbalancer::plan(&observed, now))
    }
}
