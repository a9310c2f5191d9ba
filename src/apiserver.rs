//! `portcullis apiserver`, and the same API server inside `up`.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
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

/// What `up` and `apiserver` may choose.
pub struct Settings<'a> {
    pub kubeconfig: Option<&'a Path>,
    pub service_cidr: &'a str,
    pub node_ports: RangeInclusive<u16>,
    pub advertise_address: Option<IpAddr>,
    /// Where this machine's own pods see it, whatever other addresses it has.
    pub pod_gateway: Option<IpAddr>,
    pub authorization: AuthorizationMode,
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
    let settings = Settings {
        kubeconfig: args.kubeconfig.as_deref(),
        service_cidr: &args.service_cluster_ip_range,
        node_ports: args.service_node_port_range.clone(),
        advertise_address: args.advertise_address,
        pod_gateway: None,
        authorization: args.authorization_mode.into(),
    };
    let server = ApiServer::start(&data_dir, listener, &settings).await?;
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
        settings: &Settings<'_>,
    ) -> anyhow::Result<Self> {
        let service_cidr: Cidr = settings
            .service_cidr
            .parse()
            .with_context(|| format!("{} is no range for Services", settings.service_cidr))?;
        let addresses = portcullis_agent::host_addresses();
        let bound = listener.local_addr()?.ip();
        let advertised = advertised(settings, bound, &addresses)?;
        if advertised.is_none() {
            tracing::warn!("pods cannot reach the API server: it listens on {bound} alone");
        }
        let mut reached_at = addresses.clone();
        reached_at.push(service_cidr.nth(1).into());
        reached_at.extend(advertised);
        let pki = Pki::load_or_create(data_dir.path(), &[], &reached_at, SystemTime::now())?;
        let store = RedbStore::open(&data_dir.join("store.redb"), RedbConfig::default())?;
        let config = Config {
            service_cidr,
            node_ports: settings.node_ports.clone(),
            authorization: settings.authorization,
            advertise_address: advertised,
            ..Config::default()
        };
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let drain = Drain::new();
        let running =
            portcullis_apiserver::start(config, &pki, Arc::new(store), listener, drain.clone())
                .await?;
        let url = format!("https://127.0.0.1:{}", running.address.port());
        let path = settings
            .kubeconfig
            .map_or_else(|| data_dir.join("kubeconfig"), Path::to_owned);
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

/// The endpoint of the `kubernetes` Service, for a server that listens on `bound`: what was asked for, else that address,
/// else (it listens on every one) this machine's. A loopback address would be each pod's own; a machine without any other,
/// such as a laptop on a train, still has the one that its pods see. The Service has an IPv4 address, so this is one.
fn advertised(
    settings: &Settings<'_>,
    bound: IpAddr,
    machine: &[IpAddr],
) -> anyhow::Result<Option<IpAddr>> {
    let usable = |ip: &IpAddr| ip.is_ipv4() && !ip.is_loopback();
    if let Some(asked) = settings.advertise_address {
        anyhow::ensure!(
            usable(&asked),
            "--advertise-address {asked}: pods need an IPv4 address that is not loopback"
        );
        return Ok(Some(asked));
    }
    let bound = bound.to_canonical();
    if !bound.is_unspecified() {
        return Ok(Some(bound).filter(usable));
    }
    let mut candidates = machine.iter().copied().chain(settings.pod_gateway);
    Ok(candidates.find(usable))
}

const ADMINISTRATOR: &str = "kubernetes-admin";
/// Requests in progress get this long; watches end at once.
const DRAIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Empty: not given.
    fn settings<'a>(asked: &str, gateway: &str) -> Settings<'a> {
        let given = |text: &str| (!text.is_empty()).then(|| ip(text));
        Settings {
            kubeconfig: None,
            service_cidr: "10.43.0.0/16",
            advertise_address: given(asked),
            pod_gateway: given(gateway),
            authorization: AuthorizationMode::Rbac,
            node_ports: 30_000..=32_767,
        }
    }

    #[test]
    fn pods_are_told_an_address_that_they_can_reach() {
        let (v4, v6, gateway) = ("192.0.2.7", "2001:db8::7", "10.42.0.1");
        // What is asked for, where it listens, the machine's addresses, the gateway, and what comes of it.
        for [asked, bound, machine, gateway, expected] in [
            ["", "::", "192.0.2.7 2001:db8::7", "", v4],
            ["", "0.0.0.0", "2001:db8::7 192.0.2.7", "", v4],
            ["", "::", "127.0.0.1", gateway, gateway],
            ["", "::", "127.0.0.1", "", ""],
            ["", "::", v6, gateway, gateway],
            ["", "192.0.2.8", v4, gateway, "192.0.2.8"],
            ["", "::ffff:192.0.2.8", v4, "", "192.0.2.8"],
            ["", "127.0.0.1", v4, gateway, ""],
            ["192.0.2.9", "::", v4, gateway, "192.0.2.9"],
        ] {
            let addresses: Vec<_> = machine.split(' ').map(ip).collect();
            let found = advertised(&settings(asked, gateway), ip(bound), &addresses).unwrap();
            let found = found.map(|ip| ip.to_string()).unwrap_or_default();
            assert_eq!(found, expected, "{asked:?} {bound} {machine}");
        }
        for refused in ["127.0.0.1", v6] {
            assert!(advertised(&settings(refused, ""), ip("::"), &[]).is_err());
        }
    }
}
