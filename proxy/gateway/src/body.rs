//! Bodies in both directions: one closed enum each, never hyper's own type in an interface.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use crate::{
    client::{io::Wire, stream::LastFrame},
    exchange::Exchange,
    upstream::pool::Lease,
    upstream::socket::Gauge,
};

/// A response body. Dropping it ends the exchange that it belongs to.
pub(crate) struct Body {
    content: Content,
    exchange: Option<Box<Exchange>>,
}

enum Content {
    Empty,
    Full(Bytes),
    Upstream {
        incoming: Incoming,
        lease: Option<Lease>,
    },
}

impl Body {
    pub fn empty() -> Self {
        Self::new(Content::Empty)
    }

    pub fn full(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            return Self::empty();
        }
        Self::new(Content::Full(bytes))
    }

    /// The rest of an upstream's response; the lease goes back to its pool when the last byte has passed.
    pub fn upstream(incoming: Incoming, lease: Lease) -> Self {
        let mut lease = Some(lease);
        if incoming.is_end_stream()
            && let Some(lease) = lease.take()
        {
            lease.release();
            return Self::empty();
        }
        Self::new(Content::Upstream { incoming, lease })
    }

    pub fn attach(&mut self, exchange: Box<Exchange>) {
        self.exchange = Some(exchange);
    }

    fn new(content: Content) -> Self {
        Self {
            content,
            exchange: None,
        }
    }

    fn poll_upstream(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Content::Upstream { incoming, lease } = &mut self.content else {
            return Poll::Ready(None);
        };
        if let Some(exchange) = &self.exchange {
            exchange.note_frame(LastFrame::Awaited);
        }
        let frame = ready!(Pin::new(&mut *incoming).poll_frame(cx));
        let is_finished = match &frame {
            None => true,
            Some(Ok(_)) => incoming.is_end_stream(),
            Some(Err(_)) => {
                *lease = None;
                false
            }
        };
        if is_finished && let Some(lease) = lease.take() {
            lease.release();
        }
        if let (Some(Ok(frame)), Some(exchange)) = (&frame, &mut self.exchange) {
            exchange.count_sent(frame.data_ref().map_or(0, Bytes::len));
        }
        if let (Some(Err(error)), Some(exchange)) = (&frame, &mut self.exchange) {
            exchange.upstream_broke(error);
        }
        Poll::Ready(frame)
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.content {
            Content::Empty => Poll::Ready(None),
            Content::Full(_) => {
                let Content::Full(bytes) = std::mem::replace(&mut self.content, Content::Empty)
                else {
                    return Poll::Ready(None);
                };
                if let Some(exchange) = &mut self.exchange {
                    exchange.count_sent(bytes.len());
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Content::Upstream { .. } => self.poll_upstream(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Empty => true,
            Content::Full(_) => false,
            Content::Upstream { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Empty => SizeHint::with_exact(0),
            Content::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Upstream { incoming, .. } => incoming.size_hint(),
        }
    }
}

/// A request body on its way up.
pub(crate) enum RequestBody {
    Empty,
    Stream(Box<RequestStream>),
}

/// A request body that is still arriving.
pub(crate) struct RequestStream {
    pub incoming: Incoming,
    pub progress: Rc<Progress>,
    /// The client's connection: how long an HTTP/1 body may pause is its deadline.
    pub wire: Arc<Wire>,
    /// Streams share their connection, so each watches its own pauses.
    pub is_http2: bool,
    pub pause: Option<Pin<Box<Sleep>>>,
    /// Bytes; 0 is unlimited.
    pub limit: u64,
    /// The upstream's connection: its answer is awaited from the last byte on.
    pub gauge: Option<Arc<Gauge>>,
}

/// How far a request body has come, for whoever waits for the response.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub bytes: Cell<u64>,
    pub outcome: Cell<BodyOutcome>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum BodyOutcome {
    #[default]
    Unfinished,
    Finished,
    TooLarge,
    TimedOut,
    ClientFailed,
}

/// Why a request body ended early. The outcome in [`Progress`] says it to the forwarder.
#[derive(Debug, thiserror::Error)]
#[error("request body: {0:?}")]
pub(crate) struct BodyError(BodyOutcome);

impl RequestStream {
    fn count(&mut self, frame: &Frame<Bytes>) -> Result<(), BodyError> {
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
        let bytes = self.progress.bytes.get() + length;
        self.progress.bytes.set(bytes);
        if self.limit != 0 && bytes > self.limit {
            return Err(self.end(BodyOutcome::TooLarge));
        }
        if self.incoming.is_end_stream() {
            self.finish();
        }
        Ok(())
    }

    fn finish(&mut self) {
        if self.progress.outcome.get() == BodyOutcome::Unfinished {
            self.progress.outcome.set(BodyOutcome::Finished);
            if let Some(gauge) = &self.gauge {
                gauge.await_response();
            }
        }
    }

    fn end(&self, outcome: BodyOutcome) -> BodyError {
        self.progress.outcome.set(outcome);
        BodyError(outcome)
    }

    /// Ready when nothing has arrived for too long.
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timeout = Duration::from_millis(CLIENT_BODY_TIMEOUT_MS);
        let pause = self
            .pause
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        pause.as_mut().poll(cx)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending if self.is_http2 => {
                ready!(self.poll_pause(cx));
                return Poll::Ready(Some(Err(self.end(BodyOutcome::TimedOut))));
            }
            Poll::Pending => {
                let deadline = &self.wire.deadline;
                if !deadline.is_read_armed() {
                    deadline.arm_read(self.wire.clock.now_ms() + CLIENT_BODY_TIMEOUT_MS);
                }
                return Poll::Pending;
            }
        };
        self.pause = None;
        match frame {
            None => {
                self.finish();
                Poll::Ready(None)
            }
            Some(Ok(frame)) => Poll::Ready(Some(self.count(&frame).map(|()| frame))),
            Some(Err(error)) => {
                let outcome = match crate::reply::is_timeout(&error) {
                    true => BodyOutcome::TimedOut,
                    false => BodyOutcome::ClientFailed,
                };
                Poll::Ready(Some(Err(self.end(outcome))))
            }
        }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Stream(stream) => stream.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream(stream) => stream.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream(stream) => stream.incoming.size_hint(),
        }
    }
}

/// Milliseconds between two pieces of a request body (nginx `client_body_timeout`).
const CLIENT_BODY_TIMEOUT_MS: u64 = 60_000;
