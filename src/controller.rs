//! `portcullis controller`: watches the API, publishes to proxies.

use std::net::SocketAddr;

use anyhow::Context;
use portcullis_daemon::{
    Address, Config, Election, LinkSecret, NodeAddresses, Pod, ProxyPods, Settings,
};
use portcullis_serve::BindOptions;

use crate::{cli::ControllerArgs, client, link};

pub async fn run(args: ControllerArgs) -> anyhow::Result<()> {
    let termination = portcullis_serve::termination()?;
    let client = client::from_environment(args.client.kubeconfig.as_deref()).await?;
    let tls = match &args.mtls_secret {
        Some(_) => None,
        None => Some(link::controller_tls(&args.pki_dir)?),
    };
    let listener =
        portcullis_serve::listen(args.listen, BindOptions::default()).with_context(|| {
            format!(
                "{} cannot be used; choose another with --listen",
                args.listen
            )
        })?;
    let admin = SocketAddr::from((args.healthz_host, args.healthz_port));
    let admin = portcullis_serve::listen(admin, BindOptions::default())
        .with_context(|| format!("{admin} cannot be used; choose another with --healthz-port"))?;
    let address = listener.local_addr()?;
    let namespace = args.election_namespace.clone();
    let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let running = portcullis_daemon::start(config(&args, &namespace), client).await?;
    running.serve_proxies(listener, tls);
    running.serve_admin(admin);
    tracing::info!(%address, "serving proxies once every watch has been listed");
    termination.await;
    running.stop().await;
    Ok(())
}

/// `namespace` is the one in which controllers elect, and in which their Pods are.
fn config(args: &ControllerArgs, namespace: &str) -> Config {
    let identity = format!("{}-{}", host_name(), std::process::id());
    let mut election = Election::new(namespace, identity);
    election.lease.clone_from(&args.election_id);
    election.ttl = args.election_ttl;
    Config {
        settings: settings(args),
        watch_namespaces: args.watch_namespace.clone(),
        secret_namespaces: args.secret_namespace.clone(),
        election: (!args.disable_leader_election).then_some(election),
        update_status: args.update_status,
        update_status_on_shutdown: args.update_status_on_shutdown,
        pod: args.pod_name.clone().map(|name| Pod {
            namespace: namespace.to_owned(),
            name,
        }),
        proxies: args.proxy_selector.clone().map(|labels| ProxyPods {
            namespace: namespace.to_owned(),
            labels,
        }),
        link: args.mtls_secret.clone().map(|secret| LinkSecret {
            secret,
            request: link::secret_request(args.mtls_service.as_ref()),
        }),
        ..Config::default()
    }
}

fn settings(args: &ControllerArgs) -> Settings {
    let addresses = args.publish_status_address.iter().map(|text| text.trim());
    let addresses = addresses.filter(|text| !text.is_empty());
    let nodes = match args.report_node_internal_ip_address {
        true => NodeAddresses::Internal,
        false => NodeAddresses::External,
    };
    let settings = Settings {
        controller_class: args.controller_class.clone(),
        ingress_class: args.ingress_class.clone(),
        ingress_class_by_name: args.ingress_class_by_name,
        watch_without_class: args.watch_ingress_without_class,
        disable_catch_all: args.disable_catch_all,
        default_backend: args.default_backend_service.clone(),
        default_certificate: args.default_ssl_certificate.clone(),
        annotations_prefix: args.annotations_prefix.clone(),
        unsupported: args.unsupported.into(),
        publish_addresses: addresses.map(Address::parse).collect(),
        publish_service: args.publish_service.clone(),
        publish_nodes: args.proxy_selector.is_some().then_some(nodes),
        ..Settings::default()
    };
    let settings = settings.with_ports(args.http_port, args.https_port);
    settings.with_public_ports(
        args.public_http_port.unwrap_or(args.http_port),
        args.public_https_port.unwrap_or(args.https_port),
    )
}

fn host_name() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
