//! `portcullis controller`: watches the API, publishes to proxies.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context;
use portcullis_daemon::{Address, Config, Election, Pod, Settings};
use portcullis_serve::BindOptions;

use crate::{cli::ControllerArgs, client, link};

pub async fn run(args: ControllerArgs) -> anyhow::Result<()> {
    let termination = portcullis_serve::termination()?;
    let client = client::from_environment(args.client.kubeconfig.as_deref()).await?;
    let tls = link::controller_tls(&args.pki_dir)?;
    let listener =
        portcullis_serve::listen(args.listen, BindOptions::default()).with_context(|| {
            format!(
                "{} cannot be used; choose another with --listen",
                args.listen
            )
        })?;
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, args.healthz_port));
    let admin = portcullis_serve::listen(admin, BindOptions::default())
        .with_context(|| format!("{admin} cannot be used; choose another with --healthz-port"))?;
    let address = listener.local_addr()?;
    let running = portcullis_daemon::start(config(&args), client).await?;
    running.serve_proxies(listener, tls);
    running.serve_admin(admin);
    tracing::info!(%address, "serving proxies once every watch has been listed");
    termination.await;
    running.stop().await;
    Ok(())
}

fn config(args: &ControllerArgs) -> Config {
    let mut settings = Settings {
        controller_class: args.controller_class.clone(),
        ingress_class: args.ingress_class.clone(),
        watch_without_class: args.watch_ingress_without_class,
        https_port: args.https_port,
        unsupported: args.unsupported.into(),
        publish_addresses: args
            .publish_status_address
            .iter()
            .map(|text| Address::parse(text))
            .collect(),
        ..Settings::default()
    };
    settings = settings.with_ports(args.http_port, args.https_port);
    let identity = format!("{}-{}", host_name(), std::process::id());
    let mut election = Election::new(args.election_namespace.clone(), identity);
    election.lease.clone_from(&args.election_id);
    Config {
        settings,
        watch_namespaces: args.watch_namespace.clone(),
        election: (!args.disable_leader_election).then_some(election),
        update_status: args.update_status,
        update_status_on_shutdown: args.update_status_on_shutdown,
        pod: args.pod_name.clone().map(|name| Pod {
            namespace: args.election_namespace.clone(),
            name,
        }),
        ..Config::default()
    }
}

fn host_name() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
