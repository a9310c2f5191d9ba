//! A connection to an endpoint: hyper's client on a socket with coarse deadlines.

use std::{
    cell::Cell,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use hyper::{client::conn::http1, rt::ReadBufCursor};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::spawn_local};
use tokio_util::sync::CancellationToken;

use crate::{
    body::RequestBody,
    clock::{Clock, Deadline},
    core::{Core, Shared},
};

/// An open connection that is not in use elsewhere.
pub(crate) struct Upstream {
    pub endpoint: SocketAddr,
    pub sender: http1::SendRequest<RequestBody>,
    pub gauge: Arc<Gauge>,
    /// Requests served before this one.
    pub uses: Cell<u32>,
}

/// Deadlines of one upstream connection, set per request.
#[derive(Debug)]
pub(crate) struct Gauge {
    deadline: Arc<Deadline>,
    clock: Arc<Clock>,
    read_ms: AtomicU64,
    send_ms: AtomicU64,
    /// Set once the upstream has switched protocols.
    is_tunnel: AtomicBool,
}

/// Why no connection could be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("as many connections as there may be, all in use")]
    TooMany,
    #[error("connect timed out")]
    TimedOut,
    #[error("connect failed")]
    Failed(#[from] io::Error),
    #[error("handshake failed")]
    Handshake(#[from] hyper::Error),
}

struct UpstreamIo {
    inner: TokioIo<TcpStream>,
    gauge: Arc<Gauge>,
    /// Counted until the socket closes, whoever holds it then.
    _open: OpenUpstream,
}

/// Counts a connection to an endpoint for as long as it lives.
pub(crate) struct OpenUpstream {
    shared: Arc<Shared>,
    core: usize,
}

impl Upstream {
    /// Opens a connection and lets its task run on this core.
    pub async fn connect(
        core: &Core,
        open: OpenUpstream,
        endpoint: SocketAddr,
        timeout: Duration,
    ) -> Result<Self, ConnectError> {
        let stream = tokio::time::timeout(timeout, TcpStream::connect(endpoint))
            .await
            .map_err(|_| ConnectError::TimedOut)??;
        stream.set_nodelay(true)?;
        let gauge = Arc::new(Gauge {
            deadline: core.deadlines.watch(CancellationToken::new()),
            clock: core.clock.clone(),
            read_ms: AtomicU64::new(0),
            send_ms: AtomicU64::new(0),
            is_tunnel: AtomicBool::new(false),
        });
        let io = UpstreamIo {
            inner: TokioIo::new(stream),
            gauge: gauge.clone(),
            _open: open,
        };
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_BUFFER_BYTES)
            .handshake(io)
            .await?;
        spawn_local(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::trace!(%error, %endpoint, "upstream connection ended");
            }
        });
        Ok(Self {
            endpoint,
            sender,
            gauge,
            uses: Cell::new(0),
        })
    }
}

impl OpenUpstream {
    /// None when this core has as many as it may have and cannot spare an idle one.
    pub fn new(core: &Core) -> Option<Self> {
        let upstreams = &core.load().upstreams;
        let is_full = upstreams.load(Relaxed) >= core.shared.limits.upstreams;
        if is_full && !core.pool.close_oldest() {
            return None;
        }
        upstreams.fetch_add(1, Relaxed);
        Some(Self {
            shared: core.shared.clone(),
            core: core.id,
        })
    }
}

impl Drop for OpenUpstream {
    fn drop(&mut self) {
        let upstreams = &self.shared.loads[self.core].upstreams;
        upstreams.fetch_sub(1, Relaxed);
    }
}

impl Gauge {
    /// Sets the timeouts of the request that comes next.
    pub fn set(&self, read_ms: u64, send_ms: u64) {
        self.read_ms.store(read_ms, Relaxed);
        self.send_ms.store(send_ms, Relaxed);
    }

    /// The request is sent; from now on the upstream must speak.
    pub fn await_response(&self) {
        let timeout_ms = self.read_ms.load(Relaxed);
        self.deadline.arm_read(self.clock.now_ms() + timeout_ms);
    }

    /// Both sides speak whenever they like from here on: only when neither does for the read timeout is it over, as in
    /// nginx, which renews a tunnel's timers whichever way the bytes go.
    pub fn enter_tunnel(&self) {
        self.is_tunnel.store(true, Relaxed);
        self.await_response();
    }

    /// The response is complete.
    pub fn rest(&self) {
        self.deadline.disarm_read();
        self.deadline.disarm_write();
    }

    fn after_write(
        &self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let now_ms = self.clock.now_ms();
        if result.is_ready() {
            self.deadline.disarm_write();
            if self.is_tunnel.load(Relaxed) {
                self.await_response();
            }
            return result;
        }
        if self.deadline.write_expired(now_ms) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if !self.deadline.is_write_armed() {
            self.deadline.arm_write(now_ms + self.send_ms.load(Relaxed));
        }
        self.deadline.register(cx.waker());
        Poll::Pending
    }
}

impl hyper::rt::Read for UpstreamIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_read(cx, cursor);
        let gauge = &self.gauge;
        if result.is_ready() {
            if gauge.deadline.is_read_armed() {
                gauge.await_response();
            }
            return result;
        }
        if gauge.deadline.read_expired(gauge.clock.now_ms()) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        gauge.deadline.register(cx.waker());
        Poll::Pending
    }
}

impl hyper::rt::Write for UpstreamIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.gauge.after_write(cx, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.gauge.after_write(cx, result)
    }
}

/// How long a request has taken so far, for the log.
pub(crate) fn seconds_since(start: Instant, now: Instant) -> f64 {
    now.saturating_duration_since(start).as_secs_f64()
}

/// What one upstream connection buffers in each direction, in bytes; also its largest response head.
const MAX_BUFFER_BYTES: usize = 64 << 10;
