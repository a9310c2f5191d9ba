//! What every part of the node shares: its name, its clients, its place on disk.

use crate::cri::Cri;
use crate::layout::Layout;
use crate::recorder::Recorder;
use crate::service_store::ServiceStore;
use portcullis_pod::files::Resolver;
use portcullis_pod::resources::Milli;
use std::net::IpAddr;
use std::sync::Arc;

pub(crate) struct Node {
    pub name: String,
    pub client: kube::Client,
    pub cri: Cri,
    pub recorder: Recorder,
    pub layout: Layout,
    pub host_ips: Vec<IpAddr>,
    pub cluster_dns: Vec<IpAddr>,
    pub cluster_domain: String,
    /// The node's own `resolv.conf` when it started.
    pub resolver: Resolver,
    pub services: Arc<ServiceStore>,
    pub capacity: Capacity,
}

/// What the machine has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Capacity {
    pub cpus: u32,
    pub memory_bytes: i64,
    pub disk_bytes: u64,
}

impl Capacity {
    pub(crate) fn cpu(&self) -> Milli {
        Milli::from(self.cpus) * 1000
    }

    pub(crate) fn memory(&self) -> Milli {
        Milli::from(self.memory_bytes) * 1000
    }
}
