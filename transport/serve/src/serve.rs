//! The accept loop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::connection::{BoxError, Connection};
use crate::peer::plain_address;
use crate::{Drain, Limits, Peer};

/// Serves HTTP/1.1 and HTTP/2 (by ALPN, or by prior knowledge) until `drain` begins, then takes what waits in the
/// accept queue and returns. Connections go on inside `drain`, whose [`Drain::finish`] waits for them.
///
/// `factory` makes the service of each connection. Upgrades (WebSocket, exec) are supported; what runs on an upgraded
/// connection is waited for when it is handed to [`Drain::track`].
///
/// Accept errors never end it: when descriptors or memory are short it waits and tries again.
pub async fn serve<F, S, B>(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    limits: Limits,
    drain: Drain,
    factory: F,
) where
    F: Fn(&Peer) -> S + Send + Sync + 'static,
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(limits.max_connections));
    let server = Arc::new(Connection {
        acceptor: tls.map(TlsAcceptor::from),
        limits,
        drain: drain.clone(),
        factory,
    });
    let mut backoff = Backoff::default();
    while let Some((accepted, slot)) = next(&listener, &slots, &drain).await {
        match accepted {
            Ok((stream, remote)) => {
                backoff = Backoff::default();
                take(&server, stream, remote, slot);
            }
            Err(error) => backoff.after(&error).await,
        }
    }
    let queued = queued(listener);
    for (stream, remote) in queued {
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            return;
        };
        take(&server, stream, remote, slot);
    }
}

type Accepted = io::Result<(TcpStream, SocketAddr)>;

/// The next connection with the slot it occupies, `None` once the drain has begun.
async fn next(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    drain: &Drain,
) -> Option<(Accepted, OwnedSemaphorePermit)> {
    let accept = async {
        let slot = slots.clone().acquire_owned().await;
        let slot = slot.expect("the semaphore is never closed");
        (listener.accept().await, slot)
    };
    tokio::select! {
        biased;
        () = drain.signalled() => None,
        accepted = accept => Some(accepted),
    }
}

/// What the kernel had completed before the listener closes: those peers believe they are connected.
fn queued(listener: TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    let Ok(listener) = listener.into_std() else {
        return Vec::new();
    };
    std::iter::from_fn(|| listener.accept().ok())
        .take(MAX_QUEUED)
        .filter_map(|(stream, remote)| {
            stream.set_nonblocking(true).ok()?;
            Some((TcpStream::from_std(stream).ok()?, remote))
        })
        .collect()
}

fn take<F, S, B>(
    server: &Arc<Connection<F>>,
    stream: TcpStream,
    remote: SocketAddr,
    slot: OwnedSemaphorePermit,
) where
    F: Fn(&Peer) -> S + Send + Sync + 'static,
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let Ok(local) = stream.local_addr() else {
        return; // The peer has gone already.
    };
    prepare(&stream, &server.limits);
    let peer = Peer {
        remote: plain_address(remote),
        local: plain_address(local),
        tls: None,
    };
    let connection = server.clone();
    server.drain.track(async move {
        if let Err(error) = connection.serve(stream, peer).await {
            debug!(%remote, error = &*error, "connection ended early");
        }
        drop(slot);
    });
}

/// Socket options that only help: a failure leaves the kernel's defaults.
fn prepare(stream: &TcpStream, limits: &Limits) {
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new()
        .with_time(limits.keep_alive_interval)
        .with_interval(limits.keep_alive_timeout);
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

/// Waits after accept errors, longer each time in a row.
struct Backoff {
    pause: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { pause: FIRST_PAUSE }
    }
}

impl Backoff {
    async fn after(&mut self, error: &io::Error) {
        // The peer's fault, over with this connection (accept(2)).
        if matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::Interrupted
        ) {
            return;
        }
        if self.pause == FIRST_PAUSE {
            warn!(%error, "cannot accept connections, trying again");
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

/// First wait when descriptors or memory are short (`EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`).
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// Longest wait; peers sit in the kernel's queue meanwhile.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Connections taken from the queue of a closing listener: the largest backlog that [`crate::BindOptions`] gives.
const MAX_QUEUED: usize = 4096;
