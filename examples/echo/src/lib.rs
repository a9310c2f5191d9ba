//! The echo server of the examples and tests: answers every request with what it received, as JSON.
//!
//! *Owns*: the answer's shape, the query helpers (`delay`, `status`, `size`), and leaving without losing a request.
//! *Does not own*: environment variables and signals, which the command reads and passes in.
//! *Entry point*: [`run`].
//!
//! A pod that is told to stop is still in some proxy's endpoint list for a moment. So after the shutdown signal echo
//! goes on accepting for [`Config::lame_duck`], with `/readyz` answering 503 and HTTP/1 connections closed after each
//! answer, and only then drains. Scaling down therefore loses nothing.

mod answer;
mod dump;

use std::convert::Infallible;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use portcullis_serve::{BindError, BindOptions, Drain, Limits, Peer, listen, serve};
use tokio::sync::oneshot;
use tracing::info;

pub use answer::{MAX_DELAY, MAX_SIZE_BYTES};

/// What echo needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Port to listen on over IPv4 and IPv6; 0 takes a free one.
    pub port: u16,
    /// Name of the pod, part of every answer.
    pub pod_name: String,
    /// Namespace of the pod, part of every answer.
    pub pod_namespace: String,
    /// How long to go on accepting after the shutdown signal, see the crate's page.
    pub lame_duck: Duration,
    /// How long to wait afterwards for requests in progress.
    pub drain_deadline: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            port: 8080,
            pod_name: String::new(),
            pod_namespace: String::new(),
            // Ten times what an endpoint change takes to reach the proxies, far shorter than the usual 30 s of grace.
            lame_duck: Duration::from_secs(2),
            // Together with the lame duck below 30 s, and room for the longest `delay`.
            drain_deadline: Duration::from_secs(20),
        }
    }
}

/// What all requests share.
struct Echo {
    pod_name: String,
    pod_namespace: String,
    leaving: Drain,
}

/// Serves until `shutdown` resolves and the drain after it ends. The bound address goes to `ready`.
///
/// # Errors
/// [`BindError`] when the port cannot be had.
pub async fn run(
    config: Config,
    ready: oneshot::Sender<SocketAddr>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), BindError> {
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, config.port));
    let listener = listen(address, BindOptions::default())?;
    let local = listener
        .local_addr()
        .map_err(|source| BindError::Other { address, source })?;
    let drain = Drain::new();
    let echo = Arc::new(Echo {
        pod_name: config.pod_name,
        pod_namespace: config.pod_namespace,
        leaving: Drain::new(),
    });
    let leaving = echo.leaving.clone();
    let factory = move |peer: &Peer| {
        let (echo, peer) = (echo.clone(), peer.clone());
        service_fn(move |request| {
            let (echo, remote) = (echo.clone(), peer.remote);
            async move { Ok::<_, Infallible>(echo.answer(request, remote).await) }
        })
    };
    let serving = tokio::spawn(serve(
        listener,
        None,
        Limits::default(),
        drain.clone(),
        factory,
    ));
    info!(%local, "echo serves");
    // Nobody waiting for the address is no reason to stop.
    let _ = ready.send(local);

    shutdown.await;
    leaving.begin();
    tokio::time::sleep(config.lame_duck).await;
    let drained = drain.finish(config.drain_deadline).await;
    info!(cut = drained.cut, "echo drained");
    let _ = serving.await;
    Ok(())
}
