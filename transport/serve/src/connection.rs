//! One connection from handshake to end.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use crate::activity::{Activity, Overdue, TrackedBody, WatchedIo};
use crate::{Drain, Limits, Peer, PeerTls};

/// What may go wrong inside a service or a body; it ends the connection.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What all connections of one server share.
pub(crate) struct Connection<F> {
    pub(crate) acceptor: Option<TlsAcceptor>,
    pub(crate) limits: Limits,
    pub(crate) drain: Drain,
    pub(crate) factory: F,
}

impl<F> Connection<F> {
    /// Shakes hands if so configured, then serves requests until either side is done.
    pub(crate) async fn serve<S, B>(
        self: Arc<Self>,
        stream: TcpStream,
        mut peer: Peer,
    ) -> Result<(), BoxError>
    where
        F: Fn(&Peer) -> S,
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        let Some(acceptor) = &self.acceptor else {
            let service = (self.factory)(&peer);
            return self.http(stream, service).await;
        };
        let handshake = timeout(self.limits.handshake_timeout, acceptor.accept(stream));
        let stream = handshake.await??;
        let (_, session) = stream.get_ref();
        peer.tls = Some(PeerTls {
            client_certificates: session
                .peer_certificates()
                .map(|chain| chain.iter().map(|one| one.clone().into_owned()).collect())
                .unwrap_or_default(),
            server_name: session.server_name().map(str::to_owned),
            alpn: session.alpn_protocol().map(<[u8]>::to_vec),
        });
        let service = (self.factory)(&peer);
        self.http(stream, service).await
    }

    async fn http<T, S, B>(&self, stream: T, service: S) -> Result<(), BoxError>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        let activity = Activity::begin();
        let io = TokioIo::new(WatchedIo::new(stream, activity.clone()));
        let builder = http_builder(&self.limits);
        let service = Tracked {
            inner: service,
            activity: activity.clone(),
        };
        let mut connection = pin!(builder.serve_connection_with_upgrades(io, service));
        let mut overdue = pin!(overdue(&activity, &self.limits));
        let mut leave = pin!(leave(&activity, &self.drain));
        let mut leaving = false;
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => return ended,
                () = leave.as_mut(), if !leaving => {
                    leaving = true;
                    connection.as_mut().graceful_shutdown();
                }
                why = overdue.as_mut(), if !leaving => {
                    if why == Overdue::Head {
                        return Err("the head of a request did not arrive in time".into());
                    }
                    leaving = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// Resolves when the connection has done nothing, or not finished a head, for too long.
async fn overdue(activity: &Activity, limits: &Limits) -> Overdue {
    let mut timer = pin!(sleep_until(Instant::now() + limits.header_read_timeout));
    poll_fn(|context| {
        loop {
            // Polled with the connection, so that every change of activity is seen.
            let Some((at, why)) = activity.deadline(limits) else {
                return Poll::Pending;
            };
            if at < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(at);
            }
            ready!(timer.as_mut().poll(context));
            if Instant::now() >= at {
                return Poll::Ready(why);
            }
        }
    })
    .await
}

/// Resolves when a drain has begun and no first request can be on its way any more.
async fn leave(activity: &Activity, drain: &Drain) {
    drain.signalled().await;
    let mut timer = pin!(sleep_until(Instant::now() + FIRST_REQUEST_GRACE));
    poll_fn(|context| {
        if !activity.awaits_head() {
            return Poll::Ready(());
        }
        timer.as_mut().poll(context)
    })
    .await;
}

fn http_builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // The activity timer does it, and tells a slow head from an idle connection.
        .header_read_timeout(None)
        .max_headers(limits.max_headers)
        .max_buf_size(limits.max_header_bytes.max(MIN_BUFFER));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_concurrent_streams)
        .max_pending_accept_reset_streams(limits.max_pending_resets)
        .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(limits.keep_alive_interval)
        .keep_alive_timeout(limits.keep_alive_timeout);
    builder
}

/// A service whose requests count as activity until their responses are sent.
struct Tracked<S> {
    inner: S,
    activity: Activity,
}

impl<S, B> Service<Request<Incoming>> for Tracked<S>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<TrackedBody<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let in_flight = self.activity.request(request.version());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            Ok(response.map(|body| TrackedBody::new(body, in_flight)))
        })
    }
}

/// How long a connection that has not sent its first request may still do so after a drain has begun: its peer
/// connected before it could know.
const FIRST_REQUEST_GRACE: Duration = Duration::from_millis(500);

/// The smallest buffer that hyper takes.
const MIN_BUFFER: usize = 8 * 1024;
