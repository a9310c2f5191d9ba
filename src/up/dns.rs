//! The cluster's DNS of `up`: the server in this process, and the Service that leads pods to it.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::Context;
use k8s_openapi::api::{
    core::v1::Service,
    discovery::v1::EndpointSlice,
    rbac::v1::{ClusterRole, ClusterRoleBinding},
};
use kube::{Api, Client};
use portcullis_agent::dns;
use tokio::time::timeout;

use super::{control_plane::ControlPlane, node, objects};
use crate::cli::UpArgs;

pub struct Dns {
    running: dns::Running,
    service_ip: IpAddr,
}

impl Dns {
    /// Returns when it answers. `None` when its Service cannot be had, because somebody else's has the address: pods
    /// then ask the node's resolvers, as the log says.
    pub async fn start(
        args: &UpArgs,
        control_plane: &ControlPlane,
    ) -> anyhow::Result<Option<Self>> {
        let range: portcullis_agent::Cidr = args.service_cidr.parse().context("--service-cidr")?;
        let service_ip = range
            .nth(SERVICE_OFFSET)
            .context("--service-cidr has no tenth address")?;
        authorize(&control_plane.admin)
            .await
            .context("the DNS server's role cannot be made")?;
        let running = dns::start(dns::Config {
            client: control_plane.client(USER, &[])?,
            domain: DOMAIN.to_owned(),
            ranges: vec![
                args.pod_cidr.parse().context("--pod-cidr")?,
                args.service_cidr.parse().context("--service-cidr")?,
            ],
            listen: vec![SocketAddr::new(
                address(args, control_plane)?,
                args.dns_port,
            )],
            listen_ahead: true,
            resolv_conf: args.resolv_conf.clone(),
            service_ips: vec![service_ip],
        })
        .context("the cluster's DNS server cannot start; choose another port with --dns-port")?;
        if let Err(error) = publish(args, control_plane, &running, service_ip).await {
            tracing::error!("pods have no cluster DNS: {error:#}");
            running.stop().await;
            return Ok(None);
        }
        if timeout(READY_LIMIT, running.ready()).await.is_err() {
            running.stop().await;
            anyhow::bail!(
                "the cluster's DNS server is not ready after {} s: the API did not list what it watches",
                READY_LIMIT.as_secs()
            );
        }
        Ok(Some(Self {
            running,
            service_ip,
        }))
    }

    /// What pods are told to ask.
    pub fn service_ip(&self) -> IpAddr {
        self.service_ip
    }

    pub async fn stop(self) {
        self.running.stop().await;
    }
}

/// Where it listens: our pods' gateway, which the machine has as long as it has pods, whatever network it is in, and
/// which nobody outside can reach. Pods of somebody else's runtime have another gateway, but they reach the node.
fn address(args: &UpArgs, control_plane: &ControlPlane) -> anyhow::Result<IpAddr> {
    if args.container_runtime_endpoint.is_some() {
        let node = control_plane.server.addresses.first();
        return node.copied().context("this machine has no address");
    }
    node::pod_gateway(&args.pod_cidr)
}

/// Makes the Service, and says where it leads today.
async fn publish(
    args: &UpArgs,
    control_plane: &ControlPlane,
    running: &dns::Running,
    service_ip: IpAddr,
) -> anyhow::Result<()> {
    let node_name = match &args.node_name {
        Some(name) => name.clone(),
        None => node::host_name()?,
    };
    let address = running.addresses().first().context("it listens nowhere")?;
    let service: Service = serde_json::from_value(serde_json::json!({
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "labels": {
                "k8s-app": NAME,
                "kubernetes.io/cluster-service": "true",
                "kubernetes.io/name": "CoreDNS",
            },
        },
        "spec": {
            "clusterIP": service_ip,
            "clusterIPs": [service_ip],
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": address.port()},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": address.port()},
            ],
        },
    }))?;
    let slice: EndpointSlice = serde_json::from_value(serde_json::json!({
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "labels": {
                "kubernetes.io/service-name": NAME,
                "endpointslice.kubernetes.io/managed-by": "up.portcullis.dev",
            },
        },
        "addressType": if address.is_ipv6() { "IPv6" } else { "IPv4" },
        "endpoints": [{
            "addresses": [address.ip()],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": node_name,
        }],
        "ports": [
            {"name": "dns", "port": address.port(), "protocol": "UDP"},
            {"name": "dns-tcp", "port": address.port(), "protocol": "TCP"},
        ],
    }))?;
    let client = &control_plane.admin;
    let services: Api<Service> = Api::namespaced(client.clone(), NAMESPACE);
    let existing = services.get_opt(NAME).await?.and_then(|found| found.spec);
    if existing.is_some_and(|spec| spec.selector.is_some_and(|labels| !labels.is_empty())) {
        tracing::info!("the Service {NAME} selects pods: names are theirs to answer");
        return Ok(());
    }
    objects::put(&services, &service).await?;
    objects::put(&Api::namespaced(client.clone(), NAMESPACE), &slice).await
}

/// What the server may read.
async fn authorize(client: &Client) -> anyhow::Result<()> {
    let role: ClusterRole = serde_json::from_value(serde_json::json!({
        "metadata": {"name": USER},
        "rules": [
            {"apiGroups": [""], "resources": ["namespaces", "services", "pods"], "verbs": ["list", "watch"]},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
        ],
    }))?;
    let binding: ClusterRoleBinding = serde_json::from_value(serde_json::json!({
        "metadata": {"name": USER},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": USER},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}],
    }))?;
    objects::put(&Api::all(client.clone()), &role).await?;
    objects::put(&Api::all(client.clone()), &binding).await
}

/// Upstream's choice, which tools rely on: the tenth address, under the name of the first server there was.
const SERVICE_OFFSET: u32 = 10;
const NAME: &str = "kube-dns";
const NAMESPACE: &str = "kube-system";
const DOMAIN: &str = "cluster.local";
const USER: &str = "portcullis:dns";
/// Four lists take milliseconds; whatever takes this long will not come.
const READY_LIMIT: Duration = Duration::from_secs(30);
