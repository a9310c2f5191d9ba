//! The bench's pingora-proxy row: the gateway's plain path as somebody would write it on pingora-proxy.
//!
//! *Owns* host lookup, forwarded headers, timeouts, limits, per-host metrics and the access log of this one peer.
//! *Does not own* anything of Portcullis: it shares no code with it, only the bench's fixed input.
//! *Entry point*: `pingora-peer LISTEN ADMIN ORIGIN HOSTS_FILE [ACCESS_LOG]`.

mod access_log;
mod proxy;

use std::{collections::HashMap, env, fs, io, net::SocketAddr, process::ExitCode, sync::Arc};

use pingora_core::{
    apps::HttpServerOptions,
    server::{Server, configuration::ServerConf},
};

use crate::{
    access_log::AccessLog,
    proxy::{HostMetrics, Peer},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Arguments {
    listen: SocketAddr,
    admin: SocketAddr,
    origin: SocketAddr,
    hosts_file: String,
    access_log: Option<String>,
}

fn main() -> ExitCode {
    let Some(arguments) = parse(env::args().skip(1)) else {
        eprintln!("usage: pingora-peer LISTEN ADMIN ORIGIN HOSTS_FILE [ACCESS_LOG]");
        return ExitCode::from(2);
    };
    match serve(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pingora-peer: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Option<Arguments> {
    Some(Arguments {
        listen: words.next()?.parse().ok()?,
        admin: words.next()?.parse().ok()?,
        origin: words.next()?.parse().ok()?,
        hosts_file: words.next()?,
        access_log: words.next(),
    })
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    let conf = ServerConf {
        threads: 1,
        work_stealing: false,
        upstream_keepalive_pool_size: UPSTREAM_KEEPALIVE_CONNECTIONS,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();

    let log = match &arguments.access_log {
        Some(path) => Some(AccessLog::create(path)?),
        None => None,
    };
    let peer = Peer::new(
        arguments.origin,
        arguments.listen.port(),
        hosts(&arguments.hosts_file)?,
        log,
    );
    let mut http = pingora_proxy::ProxyServiceBuilder::new(&server.configuration, peer)
        .server_options(HttpServerOptions::default())
        .build();
    http.add_tcp(&arguments.listen.to_string());
    server.add_service(http);

    let mut metrics = pingora_prometheus::prometheus_http_service();
    metrics.add_tcp(&arguments.admin.to_string());
    server.add_service(metrics);
    server.run_forever()
}

/// Every configured host with the cells that its requests are counted in.
fn hosts(path: &str) -> io::Result<HashMap<String, Arc<HostMetrics>>> {
    let metrics = proxy::register_metrics();
    Ok(fs::read_to_string(path)?
        .lines()
        .map(|host| (host.to_owned(), Arc::new(metrics.cells(host))))
        .collect())
}

/// As ingress-nginx's `upstream-keepalive-connections`.
const UPSTREAM_KEEPALIVE_CONNECTIONS: usize = 320;
