//! The node as an API object: registered, kept alive by its Lease, its status refreshed when it changes.

use crate::error::{Error, Result};
use crate::host_ports::Report;
use crate::node::Node;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node as ApiNode, NodeAddress, NodeCondition,
    NodeDaemonEndpoints, NodeSpec, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference, Time};
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams, PostParams};
use portcullis_nft::Cidr;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The API's view of this node, and who keeps it true.
pub(crate) struct Registration {
    pub node: Arc<Node>,
    pub kubelet_port: u16,
    pub pod_cidrs: Vec<Cidr>,
    /// Name and version of the container runtime.
    pub runtime: (String, String),
    /// Moves when the runtime has gone or come back.
    pub runtime_changes: watch::Receiver<u64>,
    /// Which ports load balancers may use here.
    pub host_ports: watch::Receiver<Report>,
}

impl Registration {
    /// Creates or updates the Node until it is there and ready; its uid.
    pub(crate) async fn register(&self) -> Result<String> {
        let nodes = Api::<ApiNode>::all(self.node.client.clone());
        let failed = |action| Error::api(format!("{action} the Node {}", self.node.name));
        let current = match nodes
            .get_opt(&self.node.name)
            .await
            .map_err(failed("look up"))?
        {
            Some(current) => {
                let patch = json!({"metadata": {"labels": self.labels(), "annotations": self.annotations()}, "spec": {"podCIDR": self.pod_cidr(), "podCIDRs": self.cidrs()}});
                let (parameters, patch) = (PatchParams::default(), Patch::Merge(patch));
                nodes
                    .patch(&self.node.name, &parameters, &patch)
                    .await
                    .unwrap_or(current)
            }
            None => match nodes.create(&PostParams::default(), &self.object()).await {
                Ok(created) => created,
                Err(kube::Error::Api(status)) if status.code == 409 => nodes
                    .get(&self.node.name)
                    .await
                    .map_err(failed("look up"))?,
                Err(error) => return Err(failed("register")(error)),
            },
        };
        self.write_status(&current).await?;
        Ok(current.uid().unwrap_or_default())
    }

    /// Renews the Lease every ten seconds and the status every five minutes or when the runtime changes; ends only when dropped.
    pub(crate) async fn keep_alive(mut self, uid: String) {
        let mut lease = None;
        let mut status_due = tokio::time::Instant::now() + STATUS_PERIOD;
        let mut ticks = tokio::time::interval(LEASE_PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Ok(()) = self.runtime_changes.changed() => {
                    status_due = self.refresh().await;
                    continue;
                }
                Ok(()) = self.host_ports.changed() => {
                    status_due = self.refresh().await;
                    continue;
                }
            }
            match tokio::time::timeout(LEASE_PERIOD, self.renew(lease.take(), &uid)).await {
                Ok(Ok(renewed)) => lease = Some(renewed),
                Ok(Err(error)) => tracing::debug!("the node's Lease was not renewed: {error}"),
                Err(_) => tracing::debug!("the node's Lease was not renewed in time"),
            }
            if tokio::time::Instant::now() >= status_due {
                status_due = self.refresh().await;
            }
        }
    }

    /// Says anew what this node is; when to do so again.
    async fn refresh(&self) -> tokio::time::Instant {
        let now = tokio::time::Instant::now();
        match self.register().await {
            Ok(_) => now + STATUS_PERIOD,
            // With the next tick.
            Err(error) => {
                tracing::warn!("{error}");
                now
            }
        }
    }

    /// One PUT against the version we wrote last; only after a conflict is it read again.
    async fn renew(&self, last: Option<Lease>, uid: &str) -> kube::Result<Lease> {
        let leases = Api::<Lease>::namespaced(self.node.client.clone(), LEASE_NAMESPACE);
        let known = match last {
            Some(last) => Some(last),
            None => leases.get_opt(&self.node.name).await?,
        };
        let now = MicroTime(Timestamp::now());
        match known {
            Some(mut lease) => {
                let spec = lease.spec.get_or_insert_default();
                spec.renew_time = Some(now);
                spec.holder_identity = Some(self.node.name.clone());
                spec.lease_duration_seconds = Some(LEASE_SECONDS);
                leases
                    .replace(&self.node.name, &PostParams::default(), &lease)
                    .await
            }
            None => {
                let owner = OwnerReference {
                    api_version: "v1".into(),
                    kind: "Node".into(),
                    name: self.node.name.clone(),
                    uid: uid.to_owned(),
                    ..OwnerReference::default()
                };
                let lease = Lease {
                    metadata: ObjectMeta {
                        name: Some(self.node.name.clone()),
                        namespace: Some(LEASE_NAMESPACE.into()),
                        owner_references: Some(vec![owner]),
                        ..ObjectMeta::default()
                    },
                    spec: Some(LeaseSpec {
                        holder_identity: Some(self.node.name.clone()),
                        lease_duration_seconds: Some(LEASE_SECONDS),
                        renew_time: Some(now),
                        ..LeaseSpec::default()
                    }),
                };
                leases.create(&PostParams::default(), &lease).await
            }
        }
    }

    async fn write_status(&self, current: &ApiNode) -> Result<()> {
        let status = self.status(current).await;
        let patch = Patch::Merge(json!({"status": status}));
        let nodes = Api::<ApiNode>::all(self.node.client.clone());
        let written = nodes
            .patch_status(&self.node.name, &PatchParams::default(), &patch)
            .await;
        written
            .map_err(Error::api(format!(
                "report the status of the Node {}",
                self.node.name
            )))
            .map(drop)
    }

    fn object(&self) -> ApiNode {
        ApiNode {
            metadata: ObjectMeta {
                name: Some(self.node.name.clone()),
                labels: Some(self.labels()),
                annotations: Some(self.annotations()),
                ..ObjectMeta::default()
            },
            spec: Some(NodeSpec {
                pod_cidr: self.pod_cidr(),
                pod_cidrs: Some(self.cidrs()),
                ..NodeSpec::default()
            }),
            status: None,
        }
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let architecture = crate::image::architecture();
        let labels = [
            ("kubernetes.io/hostname", self.node.name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", architecture),
            ("beta.kubernetes.io/os", "linux"),
            ("beta.kubernetes.io/arch", architecture),
        ];
        labels
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    fn annotations(&self) -> BTreeMap<String, String> {
        let ports = json!(*self.host_ports.borrow()).to_string();
        BTreeMap::from([(HOST_PORTS.to_owned(), ports)])
    }

    fn pod_cidr(&self) -> Option<String> {
        self.pod_cidrs.first().map(ToString::to_string)
    }

    fn cidrs(&self) -> Vec<String> {
        self.pod_cidrs.iter().map(ToString::to_string).collect()
    }

    async fn status(&self, current: &ApiNode) -> NodeStatus {
        let addresses = self
            .node
            .host_ips
            .iter()
            .map(|ip| ("InternalIP", ip.to_string()));
        let addresses = addresses.chain([("Hostname", self.node.name.clone())]);
        let capacity = self.capacity();
        NodeStatus {
            addresses: Some(
                addresses
                    .map(|(kind, address)| NodeAddress {
                        type_: kind.into(),
                        address,
                    })
                    .collect(),
            ),
            allocatable: Some(capacity.clone()),
            capacity: Some(capacity),
            conditions: Some(self.conditions(current).await),
            daemon_endpoints: Some(NodeDaemonEndpoints {
                kubelet_endpoint: Some(DaemonEndpoint {
                    port: self.kubelet_port.into(),
                }),
            }),
            images: Some(self.images().await),
            node_info: Some(self.info()),
            ..NodeStatus::default()
        }
    }

    fn capacity(&self) -> BTreeMap<String, Quantity> {
        let capacity = &self.node.capacity;
        let amounts = [
            ("cpu", capacity.cpus.to_string()),
            ("memory", format!("{}Ki", capacity.memory_bytes / 1024)),
            (
                "ephemeral-storage",
                format!("{}Ki", capacity.disk_bytes / 1024),
            ),
            ("pods", MOST_PODS.to_string()),
        ];
        amounts
            .map(|(name, amount)| (name.to_owned(), Quantity(amount)))
            .into()
    }

    async fn conditions(&self, current: &ApiNode) -> Vec<NodeCondition> {
        let unready = match self.node.cri.unready().await {
            Ok(None) => None,
            Ok(Some(message)) => Some(message),
            Err(error) => Some(error.to_string()),
        };
        let pressure = |kind, reason, message| (kind, false, reason, String::from(message));
        let ready = match unready {
            None => (
                "Ready",
                true,
                "KubeletReady",
                "kubelet is posting ready status".to_owned(),
            ),
            Some(message) => ("Ready", false, "KubeletNotReady", message),
        };
        let judged = [
            pressure(
                "MemoryPressure",
                "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available",
            ),
            pressure(
                "DiskPressure",
                "KubeletHasNoDiskPressure",
                "kubelet has no disk pressure",
            ),
            pressure(
                "PIDPressure",
                "KubeletHasSufficientPID",
                "kubelet has sufficient PID available",
            ),
            ready,
        ];
        let before = current
            .status
            .as_ref()
            .and_then(|status| status.conditions.as_deref())
            .unwrap_or_default();
        let now = Some(Time(Timestamp::now()));
        let condition = |(kind, truth, reason, message): (&str, bool, &str, String)| {
            let status = if truth { "True" } else { "False" };
            let same = before
                .iter()
                .find(|condition| condition.type_ == kind && condition.status == status);
            NodeCondition {
                type_: kind.into(),
                status: status.into(),
                reason: Some(reason.into()),
                message: Some(message),
                last_heartbeat_time: now.clone(),
                last_transition_time: same
                    .and_then(|same| same.last_transition_time.clone())
                    .or_else(|| now.clone()),
            }
        };
        judged.into_iter().map(condition).collect()
    }

    async fn images(&self) -> Vec<ContainerImage> {
        let images = self.node.cri.images().await.unwrap_or_default();
        let image = |image: crate::cri::generated::Image| ContainerImage {
            names: Some(
                image
                    .repo_digests
                    .into_iter()
                    .chain(image.repo_tags)
                    .collect(),
            ),
            size_bytes: i64::try_from(image.size).ok(),
        };
        images.into_iter().take(MOST_IMAGES).map(image).collect()
    }

    fn info(&self) -> NodeSystemInfo {
        let read = |path: &str| {
            std::fs::read_to_string(path)
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let release = read("/etc/os-release");
        let name = release
            .lines()
            .find_map(|line| line.strip_prefix("PRETTY_NAME="))
            .unwrap_or("Linux");
        NodeSystemInfo {
            architecture: crate::image::architecture().into(),
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            container_runtime_version: format!("{}://{}", self.runtime.0, self.runtime.1),
            kernel_version: read("/proc/sys/kernel/osrelease"),
            kube_proxy_version: String::new(),
            kubelet_version: KUBERNETES.into(),
            machine_id: read("/etc/machine-id"),
            operating_system: "linux".into(),
            os_image: name.trim_matches('"').to_owned(),
            system_uuid: read("/sys/class/dmi/id/product_uuid"),
            ..NodeSystemInfo::default()
        }
    }
}

/// What this node has for load balancers: JSON, `80/TCP` → who has the port instead, or nothing when it can be used.
const HOST_PORTS: &str = "portcullis.dev/host-ports";
const LEASE_NAMESPACE: &str = "kube-node-lease";
/// Upstream's rhythm: renewed every 10 s, valid for 40 s, status at least every 5 min.
const LEASE_PERIOD: Duration = Duration::from_secs(10);
const LEASE_SECONDS: i32 = 40;
const STATUS_PERIOD: Duration = Duration::from_secs(300);
/// Upstream's default per node, and its cap on reported images.
const MOST_PODS: u32 = 110;
const MOST_IMAGES: usize = 50;
/// The release whose kubelet this behaves as.
const KUBERNETES: &str = concat!("v1.37.0+portcullis-", env!("CARGO_PKG_VERSION"));
