//! The node of `up`: real pods on this machine.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use portcullis_agent::{Config, Running, Serving};
use tokio::time::timeout;

use super::control_plane::ControlPlane;
use crate::{cli::UpArgs, image};

pub struct Node(Running);

impl Node {
    /// Returns when the API knows the node and pods can run.
    pub async fn start(
        args: &UpArgs,
        data_dir: &Path,
        control_plane: &ControlPlane,
        ingress_ports: [u16; 2],
        cluster_dns: Option<IpAddr>,
    ) -> anyhow::Result<Self> {
        let name = match &args.node_name {
            Some(name) => name.clone(),
            None => host_name()?,
        };
        let client = control_plane.client(&format!("system:node:{name}"), &["system:nodes"])?;
        let pki = &control_plane.server.pki;
        let addresses = &control_plane.server.addresses;
        let serving = pki.issue_server(
            &format!("system:node:{name}"),
            std::slice::from_ref(&name),
            addresses,
            SystemTime::now(),
        )?;
        let mut config = Config::new(name, data_dir.join("node"), client);
        config.images.push(image::of_this_version());
        config.pod_cidrs = vec![first_subnet(&args.pod_cidr).context("--pod-cidr")?];
        config.cluster_cidrs = vec![args.pod_cidr.parse().context("--pod-cidr")?];
        config.node_ips = addresses.to_vec();
        // The ingress opens its ports while the node starts, and Services of an earlier run may want the same.
        let reserved = ingress_ports.map(|port| (port, "the ingress of portcullis".to_owned()));
        if !args.no_ingress {
            config.reserved_ports = reserved.into();
        }
        config.cluster_dns = cluster_dns.into_iter().collect();
        config.kubelet_address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, args.kubelet_port));
        config.serving = Some(Serving {
            certificate_pem: serving.certificate_pem,
            key_pem: serving.key_pem,
            client_authority_pem: pki.ca_pem().to_owned(),
            client_names: vec!["kube-apiserver-kubelet-client".to_owned()],
        });
        config.runtime_endpoint = args
            .container_runtime_endpoint
            .as_ref()
            .map(|path| format!("unix://{}", path.display()));
        let mut running = portcullis_agent::start(config).await.map_err(with_flag)?;
        if timeout(READY_LIMIT, running.ready()).await.is_err() {
            running.stop().await;
            anyhow::bail!(
                "the node is not ready after {} s: the API did not take it, or nft did not take the Services' rules; the log says which",
                READY_LIMIT.as_secs()
            );
        }
        Ok(Self(running))
    }

    pub async fn stop(self) {
        self.0.stop().await;
    }
}

/// Says which flag helps, where one does.
fn with_flag(error: portcullis_agent::Error) -> anyhow::Error {
    let is_port = matches!(error, portcullis_agent::Error::Listen { .. });
    let error = anyhow::Error::from(error);
    match is_port {
        true => error.context("the node cannot start; choose another port with --kubelet-port"),
        false => error,
    }
}

pub fn require_root() -> anyhow::Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    anyhow::bail!("running pods needs root: use sudo, or leave the node out with --no-node")
}

pub fn host_name() -> anyhow::Result<String> {
    let name = nix::unistd::gethostname()
        .context("this machine has no host name; give one with --node-name")?;
    Ok(name.to_string_lossy().to_lowercase())
}

/// A node's share of the pod addresses: the first /24 of IPv4.
fn first_subnet(cidr: &str) -> anyhow::Result<portcullis_agent::Cidr> {
    let whole: portcullis_agent::Cidr = cidr.parse()?;
    anyhow::ensure!(!whole.is_ipv6(), "{cidr}: an IPv4 range is wanted");
    let (address, length) = cidr.split_once('/').context("ADDRESS/LENGTH is wanted")?;
    let length: u8 = length.parse()?;
    Ok(format!("{address}/{}", length.max(24)).parse()?)
}

/// Where pods see this machine: the first address of their range, which every link of theirs has at this end.
pub fn pod_gateway(pod_cidr: &str) -> anyhow::Result<IpAddr> {
    let subnet = first_subnet(pod_cidr).context("--pod-cidr")?;
    subnet
        .nth(1)
        .with_context(|| format!("--pod-cidr {pod_cidr} has no room for pods"))
}

/// Registration and the first ruleset take milliseconds; whatever takes this long will not come.
const READY_LIMIT: Duration = Duration::from_secs(30);
