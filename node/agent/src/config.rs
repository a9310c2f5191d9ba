//! What a node is told when it starts.

use crate::image::Image;
use crate::kubelet::Serving;
use portcullis_nft::Cidr;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Everything [`crate::start`] needs.
#[derive(Clone)]
pub struct Config {
    pub node_name: String,
    /// Created if absent. Images, logs, volumes and the private container runtime live here.
    pub data_dir: PathBuf,
    pub client: kube::Client,
    /// Addresses for this node's pods; one range per family.
    pub pod_cidrs: Vec<Cidr>,
    /// Addresses of all pods of the cluster: what leaves them is masqueraded.
    pub cluster_cidrs: Vec<Cidr>,
    /// Name servers of pods with `dnsPolicy: ClusterFirst`; empty gives them the node's own.
    pub cluster_dns: Vec<IpAddr>,
    pub cluster_domain: String,
    /// Empty: found out.
    pub node_ips: Vec<IpAddr>,
    /// TCP ports of this machine that others of this process are about to use, with their names: no load balancer gets them.
    pub reserved_ports: BTreeMap<u16, String>,
    /// Where the kubelet API listens; port 0 takes any.
    pub kubelet_address: SocketAddr,
    /// `None` leaves the kubelet API out (`kubectl logs` then does not work).
    pub serving: Option<Serving>,
    /// `unix://…` of a runtime that somebody else runs; `None` starts a private containerd.
    pub runtime_endpoint: Option<String>,
    /// Put into images; usually our own executable.
    pub executable: PathBuf,
    /// The image of the process that holds a pod's namespaces.
    pub pause: Image,
    /// Further images to have ready.
    pub images: Vec<Image>,
    /// Name of the nftables table; two nodes on one machine need two.
    pub table: String,
    /// How long containers may take to end when the node stops, however long their pods allow.
    pub stop_grace: Duration,
}

impl Config {
    /// A node with the house's defaults.
    pub fn new(
        node_name: impl Into<String>,
        data_dir: impl Into<PathBuf>,
        client: kube::Client,
    ) -> Self {
        let cidr = |text: &str| vec![text.parse().expect("the default range parses")];
        let image = |name: &str, tag: &str| Image {
            name: format!("portcullis.dev/{name}:{tag}"),
            arguments: vec![name.into()],
        };
        Config {
            node_name: node_name.into(),
            data_dir: data_dir.into(),
            client,
            pod_cidrs: cidr("10.42.0.0/24"),
            cluster_cidrs: cidr("10.42.0.0/16"),
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".into(),
            node_ips: Vec::new(),
            reserved_ports: BTreeMap::new(),
            kubelet_address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            serving: None,
            runtime_endpoint: None,
            // By this name the running file can be read even after it was replaced on disk.
            executable: PathBuf::from("/proc/self/exe"),
            pause: image("pause", env!("CARGO_PKG_VERSION")),
            images: vec![image("echo", "1")],
            table: "portcullis".into(),
            stop_grace: Duration::from_secs(10),
        }
    }
}
