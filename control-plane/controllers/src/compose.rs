//! The composition root: caches, controllers, scheduler, and the order in which they start and stop.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Client;
use kube::runtime::watcher;
use portcullis_reconcile::{Resource, rootca};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::actor::{Actor, Controller, Start};
use crate::collect::discovery::Catalog;
use crate::collect::{Collector, Gates, SharedGraph, Watches};
use crate::controllers::clusterrole::ClusterRoles;
use crate::controllers::deployment::Deployments;
use crate::controllers::endpointslice::EndpointSlices;
use crate::controllers::loadbalancer::LoadBalancers;
use crate::controllers::namespace::Namespaces;
use crate::controllers::node::Nodes;
use crate::controllers::podgc::PodGc;
use crate::controllers::replicaset::ReplicaSets;
use crate::controllers::rootca::RootCa;
use crate::controllers::serviceaccount::ServiceAccounts;
use crate::informer::{Informer, Watched};
use crate::queue::Queue;
use crate::recorder::Recorder;
use crate::scheduler::Scheduler;

/// Settings of the controllers.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Certificates, PEM, with which pods verify the API server; published as `kube-root-ca.crt`. Nothing is published
    /// when empty.
    pub ca_pem: String,
}

/// Keys of one controller handled at a time. Work is waiting for the API server, so a few suffice.
const WORKERS: usize = 4;

/// Runs every controller until `shutdown`, then finishes the keys at hand and returns.
pub async fn run(client: Client, config: Config, shutdown: CancellationToken) {
    let mut parts = Parts::new(client, shutdown);
    parts.add_controllers(config);
    parts.finish().await;
}

/// Runs the scheduler until `shutdown`.
pub async fn run_scheduler(client: Client, shutdown: CancellationToken) {
    let mut parts = Parts::new(client.clone(), shutdown);
    parts.add_scheduler(client);
    parts.finish().await;
}

/// Who the two are to the API server.
pub struct Clients {
    pub manager: Client,
    pub scheduler: Client,
}

/// Runs controllers and scheduler over the same watches, which are the manager's, until `shutdown`.
pub async fn run_all(clients: Clients, config: Config, shutdown: CancellationToken) {
    let mut parts = Parts::new(clients.manager, shutdown);
    parts.add_controllers(config);
    parts.add_scheduler(clients.scheduler);
    parts.finish().await;
}

/// What is being put together.
struct Parts {
    client: Client,
    start: Start,
    opened: watch::Sender<bool>,
    recorder: Recorder,
    tasks: JoinSet<()>,
    caches: Vec<Cache>,
    pods: Arc<Informer<Pod>>,
    nodes: Arc<Informer<Node>>,
}

/// A watch to run, and the moment its first list is complete.
struct Cache {
    run: BoxFuture<'static, ()>,
    synced: BoxFuture<'static, ()>,
}

impl Parts {
    fn new(client: Client, shutdown: CancellationToken) -> Self {
        let (recorder, writer) = Recorder::new(client.clone(), shutdown.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(writer);
        let (opened, gate) = watch::channel(false);
        let start = Start { gate, shutdown };
        let (pods, nodes) = (Informer::new(), Informer::new());
        let mut parts = Self {
            client,
            start,
            opened,
            recorder,
            tasks,
            caches: Vec::new(),
            pods,
            nodes,
        };
        let (pods, nodes) = (Arc::clone(&parts.pods), Arc::clone(&parts.nodes));
        parts.cache(&pods, watcher::Config::default());
        parts.cache(&nodes, watcher::Config::default());
        parts
    }

    fn watched<K: Watched>(&mut self) -> Arc<Informer<K>> {
        let informer = Informer::new();
        self.cache(&informer, watcher::Config::default());
        informer
    }

    fn cache<K: Watched>(&mut self, informer: &Arc<Informer<K>>, config: watcher::Config) {
        let run = Arc::clone(informer)
            .run(self.client.clone(), config, self.start.shutdown.clone())
            .boxed();
        let listed = Arc::clone(informer);
        self.caches.push(Cache {
            run,
            synced: async move { listed.synced().await }.boxed(),
        });
    }

    fn add<C: Controller>(&mut self, build: impl FnOnce(&Self, &Arc<Queue<C::Key>>) -> C) {
        let queue = Arc::new(Queue::new());
        let controller = build(self, &queue);
        let actor = Actor::new(controller, queue, self.client.clone(), &self.recorder);
        actor.start(WORKERS, &mut self.tasks, &self.start);
    }

    fn add_controllers(&mut self, config: Config) {
        let deployments = self.watched::<Deployment>();
        let replica_sets = self.watched::<ReplicaSet>();
        let services = self.watched::<Service>();
        let slices = self.watched::<EndpointSlice>();
        let namespaces = self.watched::<Namespace>();
        let accounts = self.watched::<ServiceAccount>();
        let leases = self.watched::<Lease>();
        let roles = self.watched::<ClusterRole>();
        let catalog = Catalog::new(self.client.clone());
        self.add(|parts, queue| Deployments::new(&deployments, &replica_sets, &parts.pods, queue));
        self.add(|parts, queue| {
            ReplicaSets::new(&replica_sets, &parts.pods, queue, &parts.recorder)
        });
        self.add(|parts, queue| {
            EndpointSlices::new(&services, &parts.pods, &slices, &parts.nodes, queue)
        });
        self.add(|parts, queue| {
            LoadBalancers::new(&services, &parts.nodes, &parts.pods, &slices, queue)
        });
        self.add(|parts, queue| {
            Namespaces::new(
                parts.client.clone(),
                &namespaces,
                &parts.pods,
                &catalog,
                queue,
            )
        });
        self.add(|_, queue| ServiceAccounts::new(&namespaces, &accounts, queue));
        self.add(|parts, queue| Nodes::new(&parts.nodes, &leases, &parts.pods, queue));
        self.add(|parts, queue| PodGc::new(&parts.pods, &parts.nodes, queue));
        self.add(|_, queue| ClusterRoles::new(&roles, queue));
        if !config.ca_pem.is_empty() {
            let maps = Informer::new();
            // Of all ConfigMaps only the published ones are worth a place in memory.
            let only =
                watcher::Config::default().fields(&format!("metadata.name={}", rootca::NAME));
            self.cache(&maps, only);
            self.add(|_, queue| RootCa::new(&namespaces, &maps, config.ca_pem, queue));
        }
        let queue = Arc::new(Queue::new());
        let graph = SharedGraph::new(&queue);
        let covered = BTreeSet::from([
            graph.follow(&self.pods),
            graph.follow(&self.nodes),
            graph.follow(&deployments),
            graph.follow(&replica_sets),
            graph.follow(&services),
            graph.follow(&slices),
            graph.follow(&namespaces),
            graph.follow(&accounts),
            graph.follow(&leases),
            graph.follow(&roles),
        ]);
        self.add_collector(&graph, &catalog, covered, queue);
    }

    fn add_collector(
        &mut self,
        graph: &SharedGraph,
        catalog: &Arc<Catalog>,
        covered: BTreeSet<Resource>,
        queue: Arc<Queue<String>>,
    ) {
        let (opened, gate) = watch::channel(false);
        let gates = Gates {
            caches: self.start.gate.clone(),
            graph: opened,
        };
        let watches = Watches::new(
            self.client.clone(),
            graph.clone(),
            Arc::clone(catalog),
            covered,
            gates,
        );
        self.tasks.spawn(watches.run(self.start.shutdown.clone()));
        let collector = Collector {
            client: self.client.clone(),
            graph: graph.clone(),
            catalog: Arc::clone(catalog),
        };
        let start = Start {
            gate,
            shutdown: self.start.shutdown.clone(),
        };
        Actor::new(collector, queue, self.client.clone(), &self.recorder).start(
            WORKERS,
            &mut self.tasks,
            &start,
        );
    }

    /// The scheduler acts and speaks under its own name.
    fn add_scheduler(&mut self, client: Client) {
        let (recorder, writer) = Recorder::new(client.clone(), self.start.shutdown.clone());
        self.tasks.spawn(writer);
        let queue = Arc::new(Queue::new());
        let scheduler = Scheduler::new(&self.pods, &self.nodes, &queue);
        let actor = Actor::new(scheduler, queue, client, &recorder);
        actor.start(WORKERS, &mut self.tasks, &self.start);
    }

    /// Everybody has subscribed: watch, open the gate when all is listed, and wait for the end.
    async fn finish(mut self) {
        let mut synced = Vec::new();
        for cache in self.caches {
            self.tasks.spawn(cache.run);
            synced.push(cache.synced);
        }
        if self
            .start
            .shutdown
            .run_until_cancelled(join_all(synced))
            .await
            .is_some()
        {
            tracing::info!("caches are complete, controllers start");
            self.opened.send_replace(true);
        }
        self.start.shutdown.cancelled().await;
        while self.tasks.join_next().await.is_some() {}
    }
}
