//! The node's one wiring place: build, run, stop.

use crate::cni;
use crate::config::Config;
use crate::containerd::{self, Containerd, Keeper, Recipe};
use crate::cri::{Cri, labels};
use crate::error::{Error, Result};
use crate::health_checks::HealthChecks;
use crate::host_ports::{HostPorts, Report};
use crate::image::Archive;
use crate::layout::Layout;
use crate::links::{self, Claim};
use crate::node::Node;
use crate::pods::Directory;
use crate::programs::Programs;
use crate::recorder::{self, Recorder};
use crate::registration::Registration;
use crate::service_proxy::{self, ServiceProxy};
use crate::service_store::ServiceStore;
use crate::{events, kubelet, log_upkeep, machine, pods};
use futures::future::join_all;
use portcullis_nft::Network;
use portcullis_serve::Drain;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// A node at work.
pub struct Running {
    node: Arc<Node>,
    directory: Directory,
    containerd: Option<Keeper>,
    /// `None`: addresses are given by somebody else's runtime.
    #[expect(dead_code, reason = "held as long as the node runs")]
    claim: Option<Claim>,
    programs: Programs,
    table: String,
    stop_grace: Duration,
    kubelet_address: Option<SocketAddr>,
    drain: Drain,
    tasks: JoinSet<()>,
    registered: watch::Receiver<bool>,
    programmed: watch::Receiver<bool>,
}

/// Starts a node: its container runtime, its images, its service proxy, its pods.
///
/// Returns when everything on this machine stands; [`Running::ready`] waits for the API as well.
///
/// # Errors
/// [`Error`] in one sentence; nothing is left half-started.
pub async fn start(config: Config) -> Result<Running> {
    let programs = Programs::find()?;
    std::fs::create_dir_all(&config.data_dir).map_err(Error::file(&config.data_dir))?;
    let data_dir =
        std::fs::canonicalize(&config.data_dir).map_err(Error::file(&config.data_dir))?;
    let layout = Layout::new(&data_dir);
    cni::configure(&layout, &programs, &config.pod_cidrs)?;
    let private = config.runtime_endpoint.is_none();
    let claim = private
        .then(|| Claim::take(&config.pod_cidrs, &config.table))
        .transpose()?;
    let (containerd, mut cri) = runtime(&config, &layout, &programs).await?;
    match assemble_node(&config, &layout, &mut cri).await {
        Ok(parts) => {
            let recipe = Recipe {
                layout,
                programs: programs.clone(),
                pause_image: config.pause.name.clone(),
            };
            let (keeper, changes) = keep(containerd, recipe);
            Ok(Running {
                claim,
                ..wire(config, programs, keeper, changes, parts)
            })
        }
        Err(error) => {
            if let Some(containerd) = containerd {
                containerd.stop().await;
            }
            Err(error)
        }
    }
}

impl Running {
    /// Waits until the API knows the node and the kernel knows the Services.
    pub async fn ready(&mut self) {
        // Neither sender goes away before `self` does.
        let _ = self.registered.wait_for(|done| *done).await;
        let _ = self.programmed.wait_for(|done| *done).await;
    }

    /// Where the kubelet API listens.
    pub fn kubelet_address(&self) -> Option<SocketAddr> {
        self.kubelet_address
    }

    /// Ends every pod, then the runtime; afterwards no process, container, namespace, link, table or mount of ours is left.
    /// Images, logs and volumes stay, and the API still has its pods, none of them
    /// ready: the next start runs them again.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        self.drain.begin();
        self.drain.finish(DRAIN_LIMIT).await;
        pods::disclaim(&self.node.client, &self.directory).await;
        if let Err(error) = end_pods(&self.node.cri, self.stop_grace).await {
            tracing::warn!("some pods could not be ended: {error}");
        }
        if let Err(error) = service_proxy::remove(&self.programs.nft, &self.table).await {
            tracing::warn!("the Services' ruleset could not be removed: {error}");
        }
        if let Some(containerd) = self.containerd.take() {
            containerd.stop().await;
            // With every pod gone no address is in use, whatever a crash may have left in the plugin's books.
            let _ = std::fs::remove_dir_all(self.node.layout.cni_addresses());
        }
        containerd::unmount_below(&self.node.layout.pods());
        containerd::remove_cgroups(&self.node.layout.cgroup());
    }
}

/// The runtime, with our images in it when it is ours.
async fn runtime(
    config: &Config,
    layout: &Layout,
    programs: &Programs,
) -> Result<(Option<Containerd>, Cri)> {
    if let Some(endpoint) = &config.runtime_endpoint {
        return Ok((None, Cri::connect(endpoint).await?));
    }
    let images: Vec<_> = std::iter::once(&config.pause)
        .chain(&config.images)
        .cloned()
        .collect();
    let executable =
        std::fs::canonicalize(&config.executable).unwrap_or_else(|_| config.executable.clone());
    let assembly = tokio::task::spawn_blocking(move || Archive::assemble(&executable, &images));
    let mut containerd = Containerd::start(layout, programs, &config.pause.name).await?;
    let prepared = async {
        let cri = containerd.connect().await?;
        let archive = assembly.await.expect("assembling does not panic")?;
        containerd.import(programs, &cri, archive).await?;
        links::clear(programs, &cri, &config.pod_cidrs).await?;
        Ok(cri)
    };
    match prepared.await {
        Ok(cri) => Ok((Some(containerd), cri)),
        Err(error) => {
            containerd.stop().await;
            Err(error)
        }
    }
}

/// A runtime that is not ours is somebody else's to keep.
fn keep(containerd: Option<Containerd>, recipe: Recipe) -> (Option<Keeper>, watch::Receiver<u64>) {
    let Some(containerd) = containerd else {
        return (None, watch::channel(0).1);
    };
    let (keeper, changes) = Keeper::start(containerd, recipe);
    (Some(keeper), changes)
}

struct Parts {
    node: Arc<Node>,
    notices: recorder::Inbox,
    version: (String, String),
    directory: Directory,
    drain: Drain,
    kubelet_address: Option<SocketAddr>,
}

async fn assemble_node(config: &Config, layout: &Layout, cri: &mut Cri) -> Result<Parts> {
    let version = cri.version().await?;
    let host_ips = if config.node_ips.is_empty() {
        machine::addresses()
    } else {
        config.node_ips.clone()
    };
    let (recorder, notices) = Recorder::new();
    let node = Arc::new(Node {
        name: config.node_name.clone(),
        client: config.client.clone(),
        cri: cri.owned_by(layout.short_name()),
        recorder,
        layout: layout.clone(),
        host_ips,
        cluster_dns: config.cluster_dns.clone(),
        cluster_domain: config.cluster_domain.clone(),
        resolver: machine::resolver(),
        services: ServiceStore::new(),
        capacity: machine::capacity(layout.root()),
    });
    let (directory, drain) = (Directory::default(), Drain::new());
    let start = |serving| {
        kubelet::start(
            config.kubelet_address,
            serving,
            node.clone(),
            directory.clone(),
            drain.clone(),
        )
    };
    let kubelet_address = config.serving.as_ref().map(start).transpose()?;
    Ok(Parts {
        node,
        notices,
        version,
        directory,
        drain,
        kubelet_address,
    })
}

fn wire(
    config: Config,
    programs: Programs,
    containerd: Option<Keeper>,
    runtime_changes: watch::Receiver<u64>,
    parts: Parts,
) -> Running {
    let Parts {
        node,
        notices,
        version,
        directory,
        drain,
        kubelet_address,
    } = parts;
    let (registered, registered_seen) = watch::channel(false);
    let (programmed, programmed_seen) = watch::channel(false);
    let (report, host_ports) = watch::channel(Report::default());
    let (events, runtime_events) = mpsc::channel(EVENT_BUFFER);
    let mut tasks = JoinSet::new();
    tasks.spawn(node.services.clone().follow(node.client.clone()));
    let proxy = ServiceProxy {
        store: node.services.clone(),
        network: Network {
            table: config.table.clone(),
            cluster_pods: config.cluster_cidrs,
        },
        node: node.clone(),
        nft: programs.nft.clone(),
        host_ports: HostPorts::new(config.reserved_ports),
        health_checks: HealthChecks::new(drain.clone()),
        report,
        programmed,
    };
    tasks.spawn(proxy.run());
    let registration = Registration {
        node: node.clone(),
        kubelet_port: kubelet_address.map_or(0, |address| address.port()),
        pod_cidrs: config.pod_cidrs,
        runtime: version,
        runtime_changes,
        host_ports,
    };
    tasks.spawn(register(registration, registered));
    tasks.spawn(recorder::write(
        node.client.clone(),
        node.name.clone(),
        notices,
    ));
    tasks.spawn(log_upkeep::run(node.clone()));
    tasks.spawn(events::follow(node.cri.channel(), events));
    tasks.spawn(pods::run(node.clone(), directory.clone(), runtime_events));
    Running {
        node,
        directory,
        containerd,
        claim: None,
        programs,
        table: config.table,
        stop_grace: config.stop_grace,
        kubelet_address,
        drain,
        tasks,
        registered: registered_seen,
        programmed: programmed_seen,
    }
}

async fn register(registration: Registration, registered: watch::Sender<bool>) {
    let mut retry = RETRY_FIRST;
    let uid = loop {
        match registration.register().await {
            Ok(uid) => break uid,
            Err(error) => tracing::warn!("{error}"),
        }
        tokio::time::sleep(retry).await;
        retry = (retry * 2).min(RETRY_LIMIT);
    };
    registered.send_replace(true);
    registration.keep_alive(uid).await;
}

/// Asks every container to end, gives them the time their pods allow up to the limit, and removes the sandboxes.
async fn end_pods(cri: &Cri, limit: Duration) -> Result<()> {
    let containers = cri.containers(None).await?;
    let live = containers.iter().filter(|found| {
        found.state == crate::cri::generated::ContainerState::ContainerRunning as i32
    });
    let stops = live.map(|found| {
        let own = found
            .annotations
            .get(labels::GRACE)
            .and_then(|grace| grace.parse().ok())
            .map(Duration::from_secs);
        cri.stop_container(&found.id, own.map_or(limit, |own| own.min(limit)))
    });
    for stopped in join_all(stops).await {
        if let Err(error) = stopped {
            tracing::debug!("while ending pods: {error}");
        }
    }
    let sandboxes = cri.sandboxes(None).await?;
    let ends = sandboxes
        .iter()
        .filter(|found| found.labels.contains_key(labels::POD_UID))
        .map(|found| async {
            cri.stop_sandbox(&found.id).await?;
            cri.remove_sandbox(&found.id).await
        });
    join_all(ends).await.into_iter().collect()
}

/// Log followers get this long to notice; then they are cut.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LIMIT: Duration = Duration::from_secs(5);
/// Runtime events waiting for the supervisor; beyond it the stream waits.
const EVENT_BUFFER: usize = 256;
