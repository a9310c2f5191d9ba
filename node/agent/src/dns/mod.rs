//! The cluster's DNS server: `portcullis-dns` decides, this listens, watches and asks others.

mod admin;
mod bind;
mod forward;
mod metrics;
mod server;
mod tcp;
mod udp;
mod upstream;
mod upstreams;
mod watches;
mod wire;

use arc_swap::ArcSwap;
use forward::Forwarder;
use metrics::Metrics;
pub use portcullis_dns::{BadRange, Range};
use portcullis_dns::{Index, Zone};
use portcullis_serve::Drain;
use server::{Published, Server};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use upstreams::Upstreams;

/// Everything [`start`] needs.
pub struct Config {
    pub client: kube::Client,
    /// The cluster's domain, such as `cluster.local`.
    pub domain: String,
    /// Addresses whose reverse names are ours to deny; those of others are asked elsewhere.
    pub ranges: Vec<Range>,
    /// UDP and TCP; port 0 takes one that is free for both.
    pub listen: Vec<SocketAddr>,
    /// The addresses may come to this machine later than the server.
    pub listen_ahead: bool,
    /// Names the resolvers that are asked for all other names; read again when it changes.
    pub resolv_conf: PathBuf,
    /// Addresses that lead here: they are left out of the resolvers.
    pub service_ips: Vec<IpAddr>,
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address} for DNS: another process does")]
    InUse { address: SocketAddr },
    #[error(
        "cannot listen on {address} for DNS: ports below 1024 need root or CAP_NET_BIND_SERVICE"
    )]
    NotPermitted { address: SocketAddr },
    #[error("cannot listen on {address} for DNS")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
}

/// A server at work.
pub struct Running {
    addresses: Vec<SocketAddr>,
    server: Arc<Server>,
    complete: watch::Receiver<bool>,
    tasks: JoinSet<()>,
    drain: Drain,
}

/// Starts listening and watching. Until the API has listed everything, names of the cluster are answered with SERVFAIL.
///
/// # Errors
/// [`StartError`], naming the address.
pub fn start(config: Config) -> Result<Running, StartError> {
    let sockets = config.listen.iter().map(|address| {
        bind::open(*address, config.listen_ahead).map_err(|source| refused(*address, source))
    });
    let sockets = sockets.collect::<Result<Vec<_>, _>>()?;
    let addresses: Vec<_> = sockets.iter().map(|sockets| sockets.address).collect();
    let drain = Drain::new();
    let metrics = Arc::new(Metrics::default());
    let upstreams = Upstreams::new(config.resolv_conf, addresses.clone(), config.service_ips);
    let forwarder = Forwarder::new(upstreams, metrics.clone(), drain.clone());
    let index = Index::new(Zone::new(&config.domain, config.ranges));
    let zone = Arc::new(ArcSwap::from_pointee(Published {
        zone: index.zone().clone(),
        is_complete: false,
    }));
    let server = Arc::new(Server::new(zone.clone(), forwarder, metrics));
    let mut tasks = JoinSet::new();
    for one in sockets {
        tasks.spawn(udp::serve(one.udp, server.clone(), drain.clone()));
        tasks.spawn(tcp::serve(one.tcp, server.clone(), drain.clone()));
    }
    let (sender, complete) = watch::channel(false);
    watches::spawn_all(&mut tasks, &config.client, index, zone, sender);
    Ok(Running {
        addresses,
        server,
        complete,
        tasks,
        drain,
    })
}

impl Running {
    /// Where it listens, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Resolves when every kind has been listed.
    pub async fn ready(&self) {
        let mut complete = self.complete.clone();
        // An error means that the watches are gone; then nothing is ever ready.
        if complete.wait_for(|complete| *complete).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Answers `/healthz`, `/readyz` and `/metrics` from now on, until [`Running::stop`].
    pub fn serve_admin(&mut self, listener: TcpListener) {
        let (server, drain) = (self.server.clone(), self.drain.clone());
        self.tasks.spawn(admin::serve(listener, server, drain));
    }

    /// Takes no more questions, and gives those that are being answered a moment.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        self.drain.finish(FAREWELL).await;
    }
}

fn refused(address: SocketAddr, source: io::Error) -> StartError {
    match source.kind() {
        io::ErrorKind::AddrInUse => StartError::InUse { address },
        io::ErrorKind::PermissionDenied => StartError::NotPermitted { address },
        _ => StartError::Listen { address, source },
    }
}

/// Others answer within it, or their clients ask again.
const FAREWELL: Duration = Duration::from_secs(1);
