//! The control plane of `up`: API server, controllers, scheduler.

use std::time::SystemTime;

use kube::Client;
use portcullis_apiserver::AuthorizationMode;
use portcullis_controllers::Clients;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::node;
use crate::{
    apiserver::{ApiServer, CONTROLLER_MANAGER, SCHEDULER, Settings},
    cli::UpArgs,
    client,
    data_dir::DataDir,
};

pub struct ControlPlane {
    pub server: ApiServer,
    pub admin: Client,
    loops: JoinHandle<()>,
    stop_loops: CancellationToken,
}

impl ControlPlane {
    pub async fn start(
        args: &UpArgs,
        data_dir: &DataDir,
        listener: std::net::TcpListener,
    ) -> anyhow::Result<Self> {
        let pod_gateway = match args.no_node {
            true => None,
            false => Some(node::pod_gateway(&args.pod_cidr)?),
        };
        let settings = Settings {
            kubeconfig: args.kubeconfig.as_deref(),
            service_cidr: &args.service_cidr,
            node_ports: args.service_node_port_range.clone(),
            advertise_address: args.advertise_address,
            pod_gateway,
            authorization: AuthorizationMode::Rbac,
        };
        let server = ApiServer::start(data_dir, listener, &settings).await?;
        let admin = component(&server, "portcullis:up", &["system:masters"])?;
        let clients = Clients {
            manager: component(&server, CONTROLLER_MANAGER, &[])?,
            scheduler: component(&server, SCHEDULER, &[])?,
        };
        let stop_loops = CancellationToken::new();
        let config = portcullis_controllers::Config {
            ca_pem: server.pki.ca_pem().to_owned(),
        };
        let loops = tokio::spawn(portcullis_controllers::run_all(
            clients,
            config,
            stop_loops.clone(),
        ));
        Ok(Self {
            server,
            admin,
            loops,
            stop_loops,
        })
    }

    /// A client with a certificate of its own, made for this run.
    pub fn client(&self, user: &str, groups: &[&str]) -> anyhow::Result<Client> {
        component(&self.server, user, groups)
    }

    pub async fn stop(self) {
        self.stop_loops.cancel();
        if self.loops.await.is_err() {
            tracing::error!("a controller panicked");
        }
        self.server.stop().await;
    }
}

fn component(server: &ApiServer, user: &str, groups: &[&str]) -> anyhow::Result<Client> {
    let identity = server.pki.issue_client(user, groups, SystemTime::now())?;
    client::from_identity(&server.url, server.pki.ca_pem(), &identity)
}
