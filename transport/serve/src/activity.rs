//! What a connection is doing: reading a head, serving, or nothing.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::Limits;

/// Shared by a connection's socket, its requests and its timer.
#[derive(Clone)]
pub(crate) struct Activity(Arc<Mutex<State>>);

struct State {
    in_flight: usize,
    multiplexed: bool,
    phase: Phase,
}

/// What an otherwise unoccupied connection waits for.
#[derive(Clone, Copy)]
enum Phase {
    /// A head has begun (or the connection is new) and must end.
    Head(Instant),
    /// The peer may send another request or leave.
    Idle(Instant),
}

/// Why a connection's time is up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// A head did not end: nothing can be answered in order any more.
    Head,
    /// Nothing happened: close in order.
    Idle,
}

impl Activity {
    pub(crate) fn begin() -> Self {
        Self(Arc::new(Mutex::new(State {
            in_flight: 0,
            multiplexed: false,
            phase: Phase::Head(Instant::now()),
        })))
    }

    /// A request's head is complete; it is in flight until the returned guard drops.
    pub(crate) fn request(&self, version: http::Version) -> InFlight {
        self.with(|state| {
            state.in_flight += 1;
            state.multiplexed = version == http::Version::HTTP_2;
        });
        InFlight(self.clone())
    }

    /// When the connection is overdue and why, if it stays as it is. `None` while it serves.
    pub(crate) fn deadline(&self, limits: &Limits) -> Option<(Instant, Overdue)> {
        self.with(|state| {
            if state.in_flight > 0 {
                return None;
            }
            Some(match state.phase {
                Phase::Head(since) => (since + limits.header_read_timeout, Overdue::Head),
                Phase::Idle(since) => (since + limits.idle_timeout, Overdue::Idle),
            })
        })
    }

    /// Whether a head is awaited or being read, so that a request may be on its way.
    pub(crate) fn awaits_head(&self) -> bool {
        self.with(|state| state.in_flight == 0 && matches!(state.phase, Phase::Head(_)))
    }

    fn bytes_arrived(&self) {
        self.with(|state| {
            // HTTP/2 frames between requests (pings, window updates) are no head; the codec limits heads itself.
            if state.in_flight == 0 && !state.multiplexed && matches!(state.phase, Phase::Idle(_)) {
                state.phase = Phase::Head(Instant::now());
            }
        });
    }

    fn request_done(&self) {
        self.with(|state| {
            state.in_flight -= 1;
            state.phase = Phase::Idle(Instant::now());
        });
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A request in flight.
pub(crate) struct InFlight(Activity);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.request_done();
    }
}

pin_project! {
    /// A response body that keeps its request in flight until it is sent or dropped.
    pub(crate) struct TrackedBody<B> {
        #[pin]
        inner: B,
        in_flight: InFlight,
    }
}

impl<B> TrackedBody<B> {
    pub(crate) fn new(inner: B, in_flight: InFlight) -> Self {
        Self { inner, in_flight }
    }
}

impl<B: Body> Body for TrackedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().inner.poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

pin_project! {
    /// A socket that tells [`Activity`] when bytes arrive.
    pub(crate) struct WatchedIo<T> {
        #[pin]
        inner: T,
        activity: Activity,
    }
}

impl<T> WatchedIo<T> {
    pub(crate) fn new(inner: T, activity: Activity) -> Self {
        Self { inner, activity }
    }
}

impl<T: AsyncRead> AsyncRead for WatchedIo<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.project();
        let before = buffer.filled().len();
        let polled = this.inner.poll_read(context, buffer);
        if buffer.filled().len() > before {
            this.activity.bytes_arrived();
        }
        polled
    }
}

impl<T: AsyncWrite> AsyncWrite for WatchedIo<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.project().inner.poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().inner.poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().inner.poll_write_vectored(context, slices)
    }
}
