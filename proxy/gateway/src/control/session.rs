//! One connection to a controller.

use std::{io, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use portcullis_route::{Refusal, spec::Specs};
use portcullis_wire::{
    Assembler, KNOWN_FEATURE, MAX_MESSAGE_BYTES, PROTOCOL, Part, ProtocolError, Publication,
    proto::{
        self, Acknowledgement, FromController, FromProxy, Hello, from_proxy::Message,
        wire_client::WireClient,
    },
};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{
    net::TcpStream,
    sync::mpsc,
    time::{error::Elapsed, interval, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};
use tower::service_fn;
use tracing::{info, warn};

use super::Control;

/// Why a connection ended; there is always another try.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("{0:?} is not an address: {1}")]
    Address(String, #[source] tonic::transport::Error),
    #[error("cannot connect: {}", chain(.0))]
    Connect(#[source] tonic::transport::Error),
    #[error("no answer in time")]
    NoAnswer(#[from] Elapsed),
    #[error("the connection broke: {}", .0.message())]
    Broken(#[source] Box<Status>),
    #[error("the controller left")]
    Left,
    #[error("the controller breaks the protocol: {0}")]
    Protocol(#[from] ProtocolError),
}

impl From<Status> for Ended {
    fn from(status: Status) -> Self {
        Self::Broken(Box::new(status))
    }
}

pub(super) async fn follow(
    control: &mut Control,
    tls: Arc<ClientConfig>,
    apply: &mut impl FnMut(Arc<Specs>) -> Vec<Refusal>,
) -> Ended {
    match exchange(control, tls, apply).await {
        Ok(never) => match never {},
        Err(ended) => ended,
    }
}

async fn exchange(
    control: &mut Control,
    tls: Arc<ClientConfig>,
    apply: &mut impl FnMut(Arc<Specs>) -> Vec<Refusal>,
) -> Result<std::convert::Infallible, Ended> {
    let channel = connect(control, tls).await?;
    let (outbound, messages) = mpsc::channel(QUEUED_MESSAGES);
    let hello = Message::Hello(Hello {
        protocol: PROTOCOL,
        feature: KNOWN_FEATURE,
        proxy: control.config.proxy.clone(),
    });
    send(&outbound, hello).await?;
    let mut client = WireClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let answer = client.follow(ReceiverStream::new(messages));
    let mut inbound = timeout(ANSWER_TIMEOUT, answer).await??.into_inner();
    info!(controller = %control.config.controller, "following");
    control.link.send_modify(|link| link.is_connected = true);

    let mut assembler = Assembler::default();
    let mut confirm = interval(CONFIRM_PERIOD);
    loop {
        let part = tokio::select! {
            part = next_part(&mut inbound) => part?,
            _ = confirm.tick() => {
                control.confirm();
                continue;
            }
        };
        if let Some(publication) = assembler.push(part)? {
            let acknowledgement = take(control, publication, apply)?;
            send(&outbound, Message::Acknowledgement(acknowledgement)).await?;
        }
    }
}

/// Takes a publication: serves it, keeps it, and says what of it is not served as asked.
fn take(
    control: &mut Control,
    publication: Publication,
    apply: &mut impl FnMut(Arc<Specs>) -> Vec<Refusal>,
) -> Result<Acknowledgement, ProtocolError> {
    let (instance, version) = (publication.instance.clone(), publication.version);
    let applied = control.received.apply(publication)?;
    if applied.is_changed || control.refused.is_none() {
        control.serve(apply);
        control.keeper.keep(control.received.units().clone());
    }
    control.link.send_modify(|link| {
        link.instance = Some(instance.clone());
        link.version = version;
        link.is_current = true;
    });
    let own = applied.refused.into_iter().map(|r| (r.unit, r.reason));
    let gateway = control.refused.iter().flatten();
    let gateway = gateway.map(|r| (r.unit.clone(), r.reason.clone()));
    let refused: Vec<proto::Refusal> = own
        .chain(gateway)
        .take(MAX_REFUSALS)
        .map(|(unit, reason)| proto::Refusal { unit, reason })
        .collect();
    for refusal in &refused {
        warn!(unit = %refusal.unit, reason = %refusal.reason, "not served as asked");
    }
    Ok(Acknowledgement {
        instance,
        version,
        refused,
    })
}

async fn connect(control: &Control, tls: Arc<ClientConfig>) -> Result<Channel, Ended> {
    let controller = control.config.controller.clone();
    let server_name = control.config.server_name.clone();
    // TLS is spoken by the connector, which knows the certificates; the channel need not know of it.
    let endpoint = Endpoint::from_shared(format!("http://{controller}"))
        .map_err(|error| Ended::Address(controller.clone(), error))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    let connector = service_fn(move |_| {
        let dialled = dial(controller.clone(), server_name.clone(), tls.clone());
        async move { dialled.await.map(TokioIo::new) }
    });
    let channel = endpoint.connect_with_connector(connector).await;
    channel.map_err(Ended::Connect)
}

async fn dial(
    controller: String,
    server_name: ServerName<'static>,
    tls: Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(controller).await?;
    tcp.set_nodelay(true)?;
    TlsConnector::from(tls).connect(server_name, tcp).await
}

/// The next part of a publication. A newer controller may also send what this build does not know: it is passed over.
async fn next_part(inbound: &mut Streaming<FromController>) -> Result<Part, Ended> {
    loop {
        let message = inbound.message().await?.ok_or(Ended::Left)?;
        if let Some(part) = message.part {
            return Ok(part);
        }
    }
}

async fn send(outbound: &mpsc::Sender<FromProxy>, message: Message) -> Result<(), Ended> {
    let message = FromProxy {
        message: Some(message),
    };
    outbound.send(message).await.map_err(|_| Ended::Left)
}

/// A transport error says what it was doing; its sources say why that failed.
fn chain(error: &tonic::transport::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

const QUEUED_MESSAGES: usize = 4;
/// Refusals in one acknowledgement: they are for people.
const MAX_REFUSALS: usize = 100;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the kept set is marked as still current: how wrong its age may be after a crash.
const CONFIRM_PERIOD: Duration = Duration::from_secs(30);
/// A first set of megabytes should not wait for window updates.
const WINDOW_BYTES: u32 = 4 << 20;
