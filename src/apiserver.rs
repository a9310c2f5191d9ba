//! `portcullis apiserver`, and the same API server inside `up`.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use portcullis_apiserver::{AuthorizationMode, Cidr, Config, Pki, Running, kubeconfig};
use portcullis_serve::{BindOptions, Drain};
use portcullis_store::{RedbConfig, RedbStore};

use crate::{cli::ApiserverArgs, data_dir::DataDir, files};

/// An API server that answers, on the embedded store.
pub struct ApiServer {
    pub pki: Pki,
    /// How clients of this machine reach it.
    pub url: String,
    pub kubeconfig: PathBuf,
    /// This machine's, the IPv4 one first.
    pub addresses: Vec<IpAddr>,
    running: Running,
    drain: Drain,
}

pub async fn run(args: ApiserverArgs) -> anyhow::Result<()> {
    let termination = portcullis_serve::termination()?;
    let data_dir = DataDir::open(&args.data_dir)?;
    let address = SocketAddr::new(args.bind_address, args.secure_port);
    let listener = portcullis_serve::bind(address, BindOptions::default()).with_context(|| {
        format!(
            "port {} cannot be used; choose another with --secure-port",
            args.secure_port
        )
    })?;
    let server = ApiServer::start(
        &data_dir,
        listener,
        args.kubeconfig.as_deref(),
        &args.service_cluster_ip_range,
        args.authorization_mode.into(),
    )
    .await?;
    server.write_component_kubeconfigs(&data_dir)?;
    println!(
        "ready kubeconfig={} api={}",
        server.kubeconfig.display(),
        server.url
    );
    termination.await;
    server.stop().await;
    Ok(())
}

impl ApiServer {
    /// Returns when it answers; the administrator's kubeconfig is written.
    pub async fn start(
        data_dir: &DataDir,
        listener: std::net::TcpListener,
        kubeconfig_path: Option<&Path>,
        service_cidr: &str,
        authorization: AuthorizationMode,
    ) -> anyhow::Result<Self> {
        let service_cidr: Cidr = service_cidr
            .parse()
            .with_context(|| format!("{service_cidr} is no range for Services"))?;
        let addresses = portcullis_agent::host_addresses();
        let mut reached_at = addresses.clone();
        reached_at.push(service_cidr.nth(1).into());
        let pki = Pki::load_or_create(data_dir.path(), &[], &reached_at, SystemTime::now())?;
        let store = RedbStore::open(&data_dir.join("store.redb"), RedbConfig::default())?;
        let config = Config {
            service_cidr,
            authorization,
            advertise_address: addresses.first().copied(),
            ..Config::default()
        };
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let drain = Drain::new();
        let running =
            portcullis_apiserver::start(config, &pki, Arc::new(store), listener, drain.clone())
                .await?;
        let url = format!("https://127.0.0.1:{}", running.address.port());
        let path = kubeconfig_path.map_or_else(|| data_dir.join("kubeconfig"), Path::to_owned);
        let admin = pki.issue_client(ADMINISTRATOR, &["system:masters"], SystemTime::now())?;
        files::write_private(
            &path,
            &kubeconfig(&url, pki.ca_pem(), ADMINISTRATOR, &admin),
        )?;
        Ok(Self {
            pki,
            url,
            kubeconfig: path,
            addresses,
            running,
            drain,
        })
    }

    /// For the components that run apart: `DATA_DIR/COMPONENT.kubeconfig`, each with the name that its roles are bound to.
    fn write_component_kubeconfigs(&self, data_dir: &DataDir) -> anyhow::Result<()> {
        for (component, user) in [
            ("controller-manager", CONTROLLER_MANAGER),
            ("scheduler", SCHEDULER),
            ("ingress-controller", INGRESS_CONTROLLER),
        ] {
            let identity = self.pki.issue_client(user, &[], SystemTime::now())?;
            files::write_private(
                &data_dir.join(&format!("{component}.kubeconfig")),
                &kubeconfig(&self.url, self.pki.ca_pem(), user, &identity),
            )?;
        }
        Ok(())
    }

    pub async fn stop(self) {
        self.drain.finish(DRAIN).await;
        self.running.stopped().await;
    }
}

pub const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
pub const SCHEDULER: &str = "system:kube-scheduler";
/// Upstream has no name for it; the role is among the API server's own.
pub const INGRESS_CONTROLLER: &str = "portcullis:ingress-controller";
const ADMINISTRATOR: &str = "kubernetes-admin";
/// Requests in progress get this long; watches end at once.
const DRAIN: Duration = Duration::from_secs(2);
