//! One client connection, from its handshake to its last byte.

use std::{
    cell::{Cell, OnceCell},
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{HeaderValue, StatusCode};
use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use portcullis_route::spec::ListenerProtocol;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{
    heads::Heads,
    io::{ClientIo, MAX_HEAD_BYTES, Wire},
    stream::{LastFrame, StreamExecutor},
};
use crate::{
    core::Core,
    observe::access_log::{self, Refused},
    publish::{ids::Id, tls::ALPN_H2},
    request,
};

/// What requests of one connection have in common.
pub(crate) struct Connection {
    pub listening: Rc<Listening>,
    pub peer: SocketAddr,
    pub is_tls: bool,
    pub wire: Arc<Wire>,
    pub real_ip: HeaderValue,
    pub port: HeaderValue,
    pub remote_text: OnceCell<String>,
    /// What became of the response body that was polled last; read and reset by the task that polled it.
    pub last_frame: Cell<Option<LastFrame>>,
    /// Counted as open for as long as anything holds this, a tunnel too.
    _open: OpenConnection,
}

/// What connections of one listener share on one core.
pub(crate) struct Listening {
    /// Which listener of the table. Held, so that a connection that outlives it never meets another one's routes.
    pub id: Arc<Id>,
    /// Cancelled when the listener closes or the gateway drains.
    pub stop: CancellationToken,
}

/// Serves a connection until it ends.
pub(crate) async fn serve(
    core: Rc<Core>,
    open: OpenConnection,
    listening: Rc<Listening>,
    stream: TcpStream,
    peer: SocketAddr,
) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let view = core.view();
    let published = &view.published;
    let spec = published
        .listeners
        .get(listening.id.number() as usize)
        .and_then(|index| Some(&published.table.listeners[(*index)?].spec));
    let Some(spec) = spec else {
        return;
    };
    let port = spec.public_port.unwrap_or(local.port());
    let wire = Arc::new(new_wire(&core, listening.stop.clone()));
    let connection = |is_tls| {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        Rc::new(Connection {
            listening: listening.clone(),
            peer,
            is_tls,
            wire: wire.clone(),
            real_ip: ip_value(peer.ip()),
            port: HeaderValue::from(port),
            remote_text: OnceCell::new(),
            last_frame: Cell::new(None),
            _open: open,
        })
    };
    match spec.protocol {
        ListenerProtocol::Http => serve_http1(core.clone(), stream, connection(false)).await,
        ListenerProtocol::Https => {
            let policy = spec.tls_policy.as_ref();
            let Some(config) = policy.and_then(|name| published.tls.get(name)) else {
                return;
            };
            let accept = TlsAcceptor::from(config.clone()).accept(stream);
            drop(view);
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, accept).await {
                Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(ALPN_H2) => {
                    serve_http2(core.clone(), stream, connection(true)).await;
                }
                Ok(Ok(stream)) => serve_http1(core.clone(), stream, connection(true)).await,
                Ok(Err(error)) => {
                    core.shared.counters.handshake_failures.add(1);
                    tracing::debug!(%error, %peer, "TLS handshake failed");
                }
                Err(_) => core.shared.counters.handshake_failures.add(1),
            }
        }
    }
}

async fn serve_http1<S>(core: Rc<Core>, stream: S, connection: Rc<Connection>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // The grace for a first request begins after the handshake.
    let deadline = &connection.wire.deadline;
    deadline.let_go_if_stopped(core.clock.now_ms());
    let io = ClientIo::http1(stream, connection.wire.clone());
    let peer = connection.peer;
    let service = service_fn(|r| request::serve(core.clone(), connection.clone(), r));
    // `pipeline_flush` stays off: hyper would not flush its 400 while the offending bytes are in its buffer.
    let served = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(io, service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, %peer, "connection ended");
        record_refusal(&core, &connection, &error);
    }
}

/// A head that the framing check or the parser refused was answered, but never became a request: its line in the log is
/// written here.
fn record_refusal(core: &Core, connection: &Connection, error: &hyper::Error) {
    let request_line = connection.wire.refused.get();
    if request_line.is_none() && !error.is_parse() {
        return;
    }
    let status = match request_line.is_none() && error.is_parse_too_large() {
        true => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        false => StatusCode::BAD_REQUEST,
    };
    core.load().begun.fetch_add(1, Relaxed);
    core.shared.counters.refused_requests.add(1);
    if core.view().published.global.access_log {
        let refused = Refused {
            client: connection.remote_text(),
            request_line: request_line.map_or(&[], |line| line),
            status: status.as_u16(),
            request_id: [core.random_u64(), core.random_u64()],
        };
        core.log
            .write(|line, clock| access_log::format_refused(line, &refused, clock));
    }
}

async fn serve_http2<S>(core: Rc<Core>, stream: S, connection: Rc<Connection>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = ClientIo::http2(stream, connection.wire.clone());
    let executor = StreamExecutor {
        core: core.clone(),
        connection: connection.clone(),
    };
    let (peer, listening) = (connection.peer, connection.listening.clone());
    let service = service_fn(move |r| request::serve(core.clone(), connection.clone(), r));
    let mut served = std::pin::pin!(
        http2::Builder::new(executor)
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEAD_BYTES as u32)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_send_buf_size(MAX_SEND_BUFFER_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .serve_connection(io, service)
    );
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = listening.stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, %peer, "connection ended");
    }
}

impl Connection {
    pub fn scheme(&self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }

    pub fn remote_text(&self) -> &str {
        self.remote_text.get_or_init(|| self.peer.ip().to_string())
    }
}

/// Counts a connection for as long as it lives.
pub(crate) struct OpenConnection {
    core: Rc<Core>,
}

impl OpenConnection {
    pub fn new(core: &Rc<Core>) -> Self {
        core.load().connections.fetch_add(1, Relaxed);
        core.shared.counters.connections_accepted.add(1);
        Self { core: core.clone() }
    }

    /// For a connection that was counted when it was handed over.
    pub fn adopt(core: &Rc<Core>) -> Self {
        Self { core: core.clone() }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.core.load().connections.fetch_sub(1, Relaxed);
    }
}

fn new_wire(core: &Core, stop: CancellationToken) -> Wire {
    let header_timeout_ms = core.view().published.global.client_header_timeout_ms;
    let deadline = core.deadlines.watch(stop);
    deadline.arm_read(core.clock.now_ms() + header_timeout_ms);
    Wire {
        deadline,
        clock: core.clock.clone(),
        header_timeout_ms: AtomicU64::new(header_timeout_ms),
        send_timeout_ms: core.shared.limits.send_timeout_ms,
        is_tunnel: AtomicBool::new(false),
        heads: Heads::default(),
        active: AtomicU32::new(0),
        refused: OnceLock::new(),
    }
}

fn ip_value(ip: IpAddr) -> HeaderValue {
    HeaderValue::from_str(&ip.to_string()).expect("an address is visible ASCII")
}

/// A client that has not finished its handshake by then is gone.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// `http2-max-concurrent-streams` of ingress-nginx.
const MAX_STREAMS: u32 = 128;

/// Streams that a client reset before they were accepted; beyond it GOAWAY (rapid reset).
const MAX_PENDING_RESETS: usize = 20;

/// Response bytes that one stream may have waiting.
const MAX_SEND_BUFFER_BYTES: usize = 64 << 10;

/// Envoy's advice for edges: what one stream and one connection may have in flight towards us, in bytes.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
