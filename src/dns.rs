//! `portcullis dns`: the cluster's resolver, as a client of any API server.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context;
use portcullis_agent::dns::{Config, start};
use portcullis_serve::BindOptions;

use crate::{cli::DnsArgs, client};

pub async fn run(args: DnsArgs) -> anyhow::Result<()> {
    let termination = portcullis_serve::termination()?;
    let client = client::from_environment(args.client.kubeconfig.as_deref()).await?;
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, args.admin_port));
    let admin = portcullis_serve::listen(admin, BindOptions::default())
        .with_context(|| format!("{admin} cannot be used; choose another with --admin-port"))?;
    let mut running = start(Config {
        client,
        domain: args.cluster_domain,
        ranges: args.reverse_range,
        listen: args.listen,
        listen_ahead: false,
        resolv_conf: args.resolv_conf,
        service_ips: args.service_ip.into_iter().collect(),
    })
    .context("choose another address with --listen")?;
    running.serve_admin(admin);
    let addresses = running.addresses();
    tracing::info!(
        ?addresses,
        "answering the cluster's names once every watch has been listed"
    );
    termination.await;
    running.stop().await;
    Ok(())
}
