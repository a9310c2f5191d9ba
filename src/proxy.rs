//! `portcullis proxy`: serves what a controller publishes.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use portcullis_gateway::{
    Config, Gateway,
    control::{Control, ControlConfig},
    spec::Specs,
};
use rustls::pki_types::ServerName;

use crate::{cli::ProxyArgs, data_plane, link};

pub async fn run(args: ProxyArgs) -> anyhow::Result<()> {
    let termination = portcullis_serve::termination()?;
    let (target, wanted) = data_plane::access_log(&args.access_log);
    let gateway = Gateway::start(Config {
        workers: args.workers.unwrap_or(0),
        admin: Some(SocketAddr::from((args.admin_host, args.admin_port))),
        access_log: target,
        ..Config::default()
    })
    .map_err(data_plane::with_flag)
    .context("the proxy cannot start")?;
    let gateway = Arc::new(gateway);
    std::fs::create_dir_all(&args.state_dir).with_context(|| {
        format!(
            "{} cannot be made; name another with --state-dir",
            args.state_dir.display()
        )
    })?;
    let control = Control::new(ControlConfig {
        controller: args.controller,
        server_name: ServerName::try_from(link::CONTROLLER_NAME)?,
        proxy: nix::unistd::gethostname()?.to_string_lossy().into_owned(),
        state_file: Some(args.state_dir.join("published")),
    });
    gateway.show_link(control.link());
    let apply = {
        let gateway = gateway.clone();
        move |specs: Arc<Specs>| {
            let specs = if wanted {
                specs
            } else {
                data_plane::without_log(&specs)
            };
            data_plane::apply(&gateway, specs)
        }
    };
    let dir = args.pki_dir;
    tokio::select! {
        () = control.run(move || link::proxy_tls(&dir), apply) => {}
        () = termination => {}
    }
    gateway.drain(Duration::from_secs(args.drain_seconds)).await;
    Ok(())
}
