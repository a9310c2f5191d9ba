//! Forwarding: pick an endpoint, send, try another one while nothing has been promised.

use std::{
    net::SocketAddr,
    rc::Rc,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body::Body as _;
use hyper::{
    body::Incoming,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use portcullis_route::spec::Forward;
use smallvec::SmallVec;
use tokio::task::spawn_local;

use super::{
    affinity::Stickiness,
    pick::{pick, set_cookie, stickiness},
    pool::Lease,
    socket::{ConnectError, OpenUpstream, Upstream},
};
use crate::{
    body::{Body, BodyOutcome, Progress, RequestBody, RequestStream},
    core::Core,
    exchange::{Attempt, Exchange},
    forwarded,
    reply::{Failure, is_timeout},
};

/// What is asked of the forwarder.
pub(crate) struct Forwarding<'a> {
    pub spec: &'a Forward,
    /// A backend id.
    pub backend: u32,
    /// The protocol that the client wants to switch to.
    pub upgrade: Option<HeaderValue>,
}

/// How one endpoint fared.
enum Tried {
    Answered(Response<Incoming>, Lease),
    /// Nothing is lost yet: another endpoint may serve it.
    Again(Request<RequestBody>, Failure),
    Failed(Failure),
}

/// Sends the request to an endpoint of the backend and answers with what that says.
pub(crate) async fn run(
    exchange: &mut Exchange,
    forwarding: Forwarding<'_>,
    mut parts: Parts,
    incoming: Incoming,
) -> Result<Response<Body>, Failure> {
    let limit = forwarding.spec.max_request_body_bytes;
    if limit != 0 && declared_length(&incoming).is_some_and(|length| length > limit) {
        return Err(Failure::BodyTooLarge);
    }
    let mut sticky = stickiness(exchange, &forwarding, &parts.headers)?;
    let on_upgrade = parts.extensions.remove::<OnUpgrade>();
    if let Some(protocol) = &forwarding.upgrade {
        let upgrade = HeaderValue::from_static("upgrade");
        parts.headers.insert(header::CONNECTION, upgrade);
        parts.headers.insert(header::UPGRADE, protocol.clone());
    }
    let body = request_body(exchange, incoming, limit, &mut parts.headers);
    let mut request = Request::from_parts(parts, body);
    let mut tried: SmallVec<[SocketAddr; MAX_TRIES]> = SmallVec::new();
    let mut failure = Failure::NoEndpoint;
    while tried.len() < MAX_TRIES {
        let Some(endpoint) = pick(exchange, &forwarding, sticky.as_mut(), &tried) else {
            break;
        };
        if !tried.is_empty() {
            exchange.core.shared.counters.retries.add(1);
        }
        tried.push(endpoint);
        let started = exchange.core.clock.update();
        exchange.attempts.push(Attempt::new(endpoint, started));
        match try_endpoint(exchange, &forwarding, endpoint, request).await {
            Tried::Answered(response, lease) => {
                return answer(exchange, &forwarding, response, lease, sticky, on_upgrade);
            }
            Tried::Again(again, why) => {
                record_failure(exchange, &why);
                request = again;
                failure = why;
            }
            Tried::Failed(why) => {
                record_failure(exchange, &why);
                return Err(why);
            }
        }
    }
    Err(failure)
}

/// Asks one endpoint. A pooled connection that turns out to be stale costs only another connection, never an endpoint.
async fn try_endpoint(
    exchange: &mut Exchange,
    forwarding: &Forwarding<'_>,
    endpoint: SocketAddr,
    mut request: Request<RequestBody>,
) -> Tried {
    let core = exchange.core.clone();
    let timeouts = forwarding.spec.timeouts;
    loop {
        let pooled = core.pool.take(endpoint);
        let is_reused = pooled.is_some();
        let connected = match pooled {
            Some(upstream) => Ok(upstream),
            None => connect(&core, endpoint, timeouts.connect_ms).await,
        };
        let mut upstream = match connected {
            Ok(upstream) => upstream,
            Err(ConnectError::TooMany) => return Tried::Failed(Failure::TooManyUpstreams),
            Err(error) => return Tried::Again(request, connect_failure(&error, endpoint)),
        };
        if upstream.sender.ready().await.is_err() {
            if is_reused {
                core.shared.counters.stale_connections.add(1);
                continue;
            }
            return Tried::Again(request, Failure::Upstream);
        }
        note_connected(exchange, is_reused);
        upstream.gauge.set(timeouts.read_ms, timeouts.send_ms);
        let spare = spare_of(&request);
        match request.body_mut() {
            RequestBody::Empty => upstream.gauge.await_response(),
            RequestBody::Stream(stream) => stream.gauge = Some(upstream.gauge.clone()),
        }
        match upstream.sender.try_send_request(request).await {
            Ok(response) => {
                let lease = Lease::new(&core, upstream, exchange.progress.clone());
                return Tried::Answered(response, lease);
            }
            Err(mut error) => {
                if is_reused {
                    core.shared.counters.stale_connections.add(1);
                }
                if let Some(unsent) = error.take_message() {
                    request = unsent;
                    if is_reused {
                        continue;
                    }
                    return Tried::Again(request, Failure::Upstream);
                }
                let failure = send_failure(exchange, &error.into_error());
                match spare {
                    Some(spare) if is_reused && matches!(failure, Failure::Upstream) => {
                        request = spare;
                    }
                    Some(spare) => return Tried::Again(spare, failure),
                    None => return Tried::Failed(failure),
                }
            }
        }
    }
}

async fn connect(
    core: &Core,
    endpoint: SocketAddr,
    timeout_ms: u64,
) -> Result<Upstream, ConnectError> {
    let Some(open) = OpenUpstream::new(core) else {
        core.shared.counters.upstreams_exhausted.add(1);
        core.warn_of_upstreams();
        return Err(ConnectError::TooMany);
    };
    core.shared.counters.upstream_connects.add(1);
    Upstream::connect(core, open, endpoint, Duration::from_millis(timeout_ms)).await
}

fn connect_failure(error: &ConnectError, endpoint: SocketAddr) -> Failure {
    tracing::debug!(%error, %endpoint, "no connection to the endpoint");
    match error {
        ConnectError::TimedOut => Failure::UpstreamTimeout,
        ConnectError::TooMany => Failure::TooManyUpstreams,
        ConnectError::Failed(_) | ConnectError::Handshake(_) => Failure::Upstream,
    }
}

fn send_failure(exchange: &Exchange, error: &hyper::Error) -> Failure {
    let outcome = exchange.progress.as_ref().map(|p| p.outcome.get());
    match outcome {
        Some(BodyOutcome::TooLarge) => Failure::BodyTooLarge,
        Some(BodyOutcome::TimedOut) => Failure::BodyTimedOut,
        Some(BodyOutcome::ClientFailed) => Failure::BodyBroken,
        _ if is_timeout(error) => Failure::UpstreamTimeout,
        _ => {
            tracing::debug!(%error, "upstream gave no response");
            Failure::Upstream
        }
    }
}

/// A copy of a request that may be sent twice: no body, and a method that changes nothing by repetition (RFC 9110 9.2.2).
fn spare_of(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let is_idempotent = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    );
    if !is_idempotent || !matches!(request.body(), RequestBody::Empty) {
        return None;
    }
    let mut spare = Request::new(RequestBody::Empty);
    *spare.method_mut() = request.method().clone();
    *spare.uri_mut() = request.uri().clone();
    *spare.headers_mut() = request.headers().clone();
    Some(spare)
}

fn answer(
    exchange: &mut Exchange,
    forwarding: &Forwarding<'_>,
    mut response: Response<Incoming>,
    lease: Lease,
    sticky: Option<Stickiness>,
    on_upgrade: Option<OnUpgrade>,
) -> Result<Response<Body>, Failure> {
    if let Some(attempt) = exchange.attempts.last_mut() {
        attempt.responded = Some(Instant::now());
        attempt.status = response.status().as_u16();
    }
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let (Some(_), Some(client)) = (&forwarding.upgrade, on_upgrade) else {
            return Err(Failure::Upstream);
        };
        lease.upstream.gauge.enter_tunnel();
        return Ok(switch_protocols(exchange, &mut response, client));
    }
    let (mut parts, incoming) = response.into_parts();
    parts.version = http::Version::default();
    parts.extensions.clear();
    forwarded::strip_hop_by_hop(&mut parts.headers);
    for name in [header::SERVER, header::DATE] {
        parts.headers.remove(name);
    }
    set_cookie(exchange, forwarding, sticky, &mut parts.headers);
    Ok(Response::from_parts(parts, Body::upstream(incoming, lease)))
}

/// Both sides speak something else from here on. Nothing that the client sent before this point has gone up.
fn switch_protocols(
    exchange: &Exchange,
    response: &mut Response<Incoming>,
    client: OnUpgrade,
) -> Response<Body> {
    let upstream = hyper::upgrade::on(&mut *response);
    exchange.connection.wire.is_tunnel.store(true, Relaxed);
    let connection = exchange.connection.clone();
    spawn_local(async move {
        // A drain waits for the tunnel as for any connection.
        let _open = connection;
        if let (Ok(client), Ok(upstream)) = (client.await, upstream.await) {
            tunnel(client, upstream).await;
        }
    });
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *answer.headers_mut() = std::mem::take(response.headers_mut());
    answer.headers_mut().remove(header::SERVER);
    answer
}

async fn tunnel(client: Upgraded, upstream: Upgraded) {
    let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
    if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut upstream).await {
        tracing::debug!(%error, "tunnel ended");
    }
}

fn request_body(
    exchange: &mut Exchange,
    incoming: Incoming,
    limit: u64,
    headers: &mut HeaderMap,
) -> RequestBody {
    if incoming.is_end_stream() {
        if headers.contains_key(header::CONTENT_LENGTH) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        return RequestBody::Empty;
    }
    // One framing, from what really arrives and not from what the client has said of it.
    match declared_length(&incoming) {
        Some(length) => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        None => {
            headers.remove(header::CONTENT_LENGTH);
            let chunked = HeaderValue::from_static("chunked");
            headers.insert(header::TRANSFER_ENCODING, chunked);
        }
    }
    let progress = Rc::new(Progress::default());
    exchange.progress = Some(progress.clone());
    RequestBody::Stream(Box::new(RequestStream {
        incoming,
        progress,
        wire: exchange.connection.wire.clone(),
        is_http2: exchange.version == http::Version::HTTP_2,
        pause: None,
        limit,
        gauge: None,
    }))
}

fn declared_length(incoming: &Incoming) -> Option<u64> {
    incoming.size_hint().exact()
}

fn note_connected(exchange: &mut Exchange, is_reused: bool) {
    if let Some(attempt) = exchange.attempts.last_mut() {
        attempt.connected = Some(match is_reused {
            true => attempt.started,
            false => Instant::now(),
        });
    }
}

fn record_failure(exchange: &mut Exchange, failure: &Failure) {
    if let Some(attempt) = exchange.attempts.last_mut() {
        attempt.status = failure.status().as_u16();
        attempt.ended = Some(Instant::now());
    }
}

/// Endpoints asked for one request (`proxy-next-upstream-tries`).
const MAX_TRIES: usize = 3;
