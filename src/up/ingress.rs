//! The ingress of `up`: controller and proxy in one process, over the same types as apart.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use portcullis_daemon as daemon;
use portcullis_gateway::{Config, Gateway};
use tokio::task::JoinHandle;

use super::control_plane::ControlPlane;
use crate::{apiserver::INGRESS_CONTROLLER, cli::UpArgs, data_plane};

pub struct Ingress {
    gateway: Arc<Gateway>,
    controller: daemon::Running,
    pump: JoinHandle<()>,
}

impl Ingress {
    /// Returns when the first routes are served.
    pub async fn start(
        args: &UpArgs,
        control_plane: &ControlPlane,
        http_port: u16,
        https_port: u16,
    ) -> anyhow::Result<Self> {
        let (target, logs) = data_plane::access_log(&args.access_log);
        let gateway = Gateway::start(Config {
            workers: args.workers.unwrap_or(0),
            admin: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, args.admin_port))),
            access_log: target,
            ..Config::default()
        })
        .map_err(data_plane::with_flag)
        .context("the ingress cannot start")?;
        let gateway = Arc::new(gateway);
        let mut settings = daemon::Settings::default().with_ports(http_port, https_port);
        settings.https_port = https_port;
        settings.unsupported = args.unsupported.into();
        settings.global = Arc::new(daemon::GlobalSpec {
            access_log: logs,
            ..(*settings.global).clone()
        });
        settings.publish_addresses = control_plane
            .server
            .addresses
            .iter()
            .map(|ip| daemon::Address::Ip(*ip))
            .collect();
        for listener in &mut settings.listeners {
            Arc::make_mut(listener).address = args.bind_address;
        }
        let config = daemon::Config {
            settings,
            update_status_on_shutdown: false,
            ..daemon::Config::default()
        };
        let client = control_plane.client(INGRESS_CONTROLLER, &[])?;
        let controller = daemon::start(config, client).await?;
        controller.ready().await;
        let specs = controller.specs();
        let report = gateway.apply(specs.borrow().clone());
        if let Some(refusal) = report
            .refusals
            .iter()
            .find(|refusal| refusal.unit.starts_with("listener"))
        {
            anyhow::bail!("{} cannot be opened: {}", refusal.unit, refusal.reason);
        }
        let pump = tokio::spawn(data_plane::follow(gateway.clone(), specs));
        Ok(Self {
            gateway,
            controller,
            pump,
        })
    }

    pub fn http_port(&self) -> u16 {
        self.port("http")
    }

    pub fn https_port(&self) -> u16 {
        self.port("https")
    }

    fn port(&self, name: &str) -> u16 {
        let bound = self.gateway.bound();
        bound
            .iter()
            .find(|listener| listener.name == name)
            .map_or(0, |listener| listener.address.port())
    }

    pub async fn stop(self, deadline: Duration) {
        self.gateway.drain(deadline).await;
        self.pump.abort();
        self.controller.stop().await;
    }
}
