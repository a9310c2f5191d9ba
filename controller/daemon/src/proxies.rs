//! Proxies in other processes: each dials in over mutual TLS, gets the full set, then what changes.

use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use portcullis_route::spec::Specs;
use portcullis_wire::{
    Delta, Encoder, PROTOCOL, UnitSet, diff, parts,
    proto::{
        Acknowledgement, FromController, FromProxy, Hello,
        from_proxy::Message,
        wire_server::{Wire, WireServer},
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Response, Status, Streaming, transport::Server};
use tracing::{debug, info, warn};

use crate::{admin::Counters, link::LinkTls, publish::Outbox};

/// None until everything has been listed.
type Units = watch::Receiver<Option<Arc<UnitSet>>>;

/// Accepts proxies until stopped.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: LinkTls,
    instance: Arc<str>,
    units: Units,
    counters: Arc<Counters>,
    stopping: CancellationToken,
) {
    let (sender, connections) = mpsc::channel(QUEUED_CONNECTIONS);
    let accepting = TaskTracker::new();
    accepting.spawn(accept(listener, tls, sender, stopping.clone()));
    let follow = Follow {
        instance,
        units,
        counters,
        stopping: stopping.clone(),
    };
    let service = WireServer::new(follow).max_decoding_message_size(MAX_FROM_PROXY_BYTES);
    let served = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(STREAMS_PER_PROXY)
        .add_service(service)
        .serve_with_incoming_shutdown(ReceiverStream::new(connections), stopping.cancelled_owned());
    if let Err(error) = served.await {
        warn!(%error, "proxies are no longer served");
    }
    accepting.close();
    accepting.wait().await;
}

/// Encodes each publication once for all proxies.
pub(crate) async fn encode(
    mut specs: watch::Receiver<Arc<Specs>>,
    mut outbox: watch::Receiver<Arc<Outbox>>,
    units: watch::Sender<Option<Arc<UnitSet>>>,
) {
    if outbox.wait_for(|outbox| outbox.begun).await.is_err() {
        return;
    }
    let mut encoder = Encoder::default();
    loop {
        let current = specs.borrow_and_update().clone();
        let (set, refused) = encoder.encode(&current);
        for refusal in refused {
            warn!(unit = %refusal.unit, reason = %refusal.reason, "cannot be sent to proxies");
        }
        units.send_replace(Some(Arc::new(set)));
        if specs.changed().await.is_err() {
            return;
        }
    }
}

/// Handshakes run beside each other, so that a slow peer delays nobody. Each is made with the certificates of its time.
async fn accept(
    listener: TcpListener,
    mut tls: LinkTls,
    connections: mpsc::Sender<io::Result<TlsStream<TcpStream>>>,
    stopping: CancellationToken,
) {
    let known = stopping.run_until_cancelled(tls.wait_for(Option::is_some));
    // None: told to stop; an error: nobody will ever say.
    let Some(Ok(_)) = known.await else {
        return;
    };
    let handshakes = TaskTracker::new();
    while let Some(accepted) = stopping.run_until_cancelled(listener.accept()).await {
        let (tcp, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or a peer that left already.
                warn!(%error, "cannot accept a proxy");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if handshakes.len() >= MAX_HANDSHAKES {
            warn!(%peer, "too many proxies at once, one is turned away");
            continue;
        }
        let Some(current) = tls.borrow().clone() else {
            continue;
        };
        let (acceptor, connections) = (TlsAcceptor::from(current), connections.clone());
        handshakes.spawn(async move {
            match handshake(acceptor, tcp).await {
                // The server is gone: so is the connection.
                Ok(connection) => drop(connections.send(Ok(connection)).await),
                Err(error) => warn!(%peer, %error, "a proxy is turned away"),
            }
        });
    }
}

/// # Errors
/// Also for a peer without certificate, whatever the configuration asks for: what is sent holds private keys.
async fn handshake(acceptor: TlsAcceptor, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    tcp.set_nodelay(true)?;
    let connection = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(tcp)).await??;
    if connection.get_ref().1.peer_certificates().is_none() {
        return Err(io::Error::other("it shows no certificate"));
    }
    Ok(connection)
}

struct Follow {
    instance: Arc<str>,
    units: Units,
    counters: Arc<Counters>,
    stopping: CancellationToken,
}

#[tonic::async_trait]
impl Wire for Follow {
    type FollowStream = ReceiverStream<Result<FromController, Status>>;

    async fn follow(
        &self,
        request: Request<Streaming<FromProxy>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let mut inbound = request.into_inner();
        let hello = hello(&mut inbound).await?;
        if hello.protocol != PROTOCOL {
            return Err(Status::failed_precondition(format!(
                "this controller speaks protocol {PROTOCOL}, the proxy {}",
                hello.protocol
            )));
        }
        info!(proxy = %hello.proxy, feature = hello.feature, "a proxy follows");
        let (outbound, parts) = mpsc::channel(QUEUED_PARTS);
        let session = Session {
            instance: self.instance.clone(),
            proxy: hello.proxy,
            units: self.units.clone(),
            counters: self.counters.clone(),
            inbound,
            outbound,
        };
        let (stopping, counters) = (self.stopping.clone(), self.counters.clone());
        tokio::spawn(async move {
            let proxy = session.proxy.clone();
            counters.proxies.fetch_add(1, Relaxed);
            match stopping.run_until_cancelled(session.run()).await {
                Some(Err(ended)) => info!(%proxy, "a proxy no longer follows: {ended}"),
                Some(Ok(())) | None => debug!(%proxy, "a proxy is left"),
            }
            counters.proxies.fetch_sub(1, Relaxed);
        });
        Ok(Response::new(ReceiverStream::new(parts)))
    }
}

async fn hello(inbound: &mut Streaming<FromProxy>) -> Result<Hello, Status> {
    let first = timeout(HELLO_TIMEOUT, inbound.message())
        .await
        .map_err(|_| Status::deadline_exceeded("no hello came"))??;
    match first.and_then(|message| message.message) {
        Some(Message::Hello(hello)) => Ok(hello),
        _ => Err(Status::invalid_argument("the first message is no hello")),
    }
}

/// One proxy that follows.
struct Session {
    instance: Arc<str>,
    proxy: String,
    units: Units,
    counters: Arc<Counters>,
    inbound: Streaming<FromProxy>,
    outbound: mpsc::Sender<Result<FromController, Status>>,
}

#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("it left")]
    Left,
    #[error("its connection broke: {0}")]
    Broken(#[from] Box<Status>),
    #[error("it did not acknowledge version {0} in time")]
    Silent(u64),
    #[error("it sent something unexpected")]
    Unexpected,
}

impl Session {
    /// Ends well when there is nothing more to publish.
    async fn run(mut self) -> Result<(), Ended> {
        let mut held: Option<Arc<UnitSet>> = None;
        let mut version = 0;
        loop {
            let next = self.units.borrow_and_update().clone();
            if let Some(next) = next {
                let (base, delta) = match &held {
                    None => (None, Delta::full(&next)),
                    Some(held) => (Some(version), diff(held, &next)),
                };
                if base.is_none() || !delta.is_empty() {
                    version += 1;
                    self.publish(version, base, &delta).await?;
                }
                held = Some(next);
            }
            tokio::select! {
                changed = self.units.changed() => if changed.is_err() { return Ok(()) },
                message = known_message(&mut self.inbound) => {
                    message?;
                    return Err(Ended::Unexpected);
                }
            }
        }
    }

    /// Sends one publication and waits for its acknowledgement: what changes meanwhile comes in the next one.
    async fn publish(
        &mut self,
        version: u64,
        base: Option<u64>,
        delta: &Delta,
    ) -> Result<(), Ended> {
        debug!(proxy = %self.proxy, version, put = delta.put.len(), "sending");
        let exchange = async {
            for part in parts(&self.instance, version, base, delta) {
                let message = FromController { part: Some(part) };
                let sent = self.outbound.send(Ok(message)).await;
                sent.map_err(|_| Ended::Left)?;
            }
            acknowledgement(&mut self.inbound).await
        };
        let answer = timeout(ACKNOWLEDGE_TIMEOUT, exchange);
        let answer = answer.await.map_err(|_| Ended::Silent(version))??;
        if answer.version != version || *answer.instance != *self.instance {
            return Err(Ended::Unexpected);
        }
        for refusal in &answer.refused {
            let (unit, reason) = (&refusal.unit, &refusal.reason);
            warn!(proxy = %self.proxy, %unit, %reason, "not served as asked");
            self.counters.refusals.fetch_add(1, Relaxed);
        }
        Ok(())
    }
}

async fn acknowledgement(inbound: &mut Streaming<FromProxy>) -> Result<Acknowledgement, Ended> {
    match known_message(inbound).await? {
        Message::Acknowledgement(answer) => Ok(answer),
        Message::Hello(_) => Err(Ended::Unexpected),
    }
}

/// The next message that this build knows: a newer proxy may also say what is not for it.
async fn known_message(inbound: &mut Streaming<FromProxy>) -> Result<Message, Ended> {
    loop {
        let message = inbound.message().await.map_err(Box::new)?;
        if let Some(known) = message.ok_or(Ended::Left)?.message {
            return Ok(known);
        }
    }
}

const QUEUED_CONNECTIONS: usize = 16;
/// Handshakes in progress; beyond it connections are closed, and proxies come back.
const MAX_HANDSHAKES: usize = 256;
/// Parts on their way to one proxy: about a megabyte each.
const QUEUED_PARTS: usize = 2;
/// A proxy has one.
const STREAMS_PER_PROXY: u32 = 4;
/// An acknowledgement with the refusals that a proxy sends at most.
const MAX_FROM_PROXY_BYTES: usize = 1 << 20;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
