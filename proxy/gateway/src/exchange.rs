//! The record of one request: what the log line and the metrics will say when it is over.

use std::{net::SocketAddr, rc::Rc, sync::Arc, sync::atomic::Ordering::Relaxed, time::Instant};

use http::{HeaderMap, HeaderValue, Method, Response, Uri, Version, header, request::Parts};
use smallvec::SmallVec;

use crate::{
    body::{Body, Progress},
    client::{connection::Connection, stream::LastFrame},
    core::Core,
    observe::{access_log, metrics::Observation},
    publish::link::HostLink,
};

/// Lives until the last byte of the response has been handed over or given up.
pub(crate) struct Exchange {
    pub core: Rc<Core>,
    pub connection: Rc<Connection>,
    pub started: Instant,
    pub method: Method,
    pub uri: Uri,
    pub version: Version,
    pub referer: Option<HeaderValue>,
    pub user_agent: Option<HeaderValue>,
    pub authorization: Option<HeaderValue>,
    pub request_id: Option<HeaderValue>,
    /// The client as the log and the upstream see it.
    pub client: std::net::IpAddr,
    pub head_bytes: u64,
    pub progress: Option<Rc<Progress>>,
    pub route: Option<RouteRef>,
    pub attempts: SmallVec<[Attempt; 1]>,
    pub status: u16,
    pub sent_bytes: u64,
    pub response_head_bytes: u64,
}

/// A route that outlives its table for as long as the exchange needs it.
#[derive(Clone)]
pub(crate) struct RouteRef {
    pub host: Arc<HostLink>,
    pub index: u32,
}

/// One endpoint that was asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub endpoint: SocketAddr,
    pub started: Instant,
    pub connected: Option<Instant>,
    pub responded: Option<Instant>,
    /// The upstream's status, or ours in its stead.
    pub status: u16,
    pub response_bytes: u64,
    pub ended: Option<Instant>,
}

impl Exchange {
    pub fn begin(core: &Rc<Core>, connection: &Rc<Connection>, parts: &Parts, log: bool) -> Self {
        let started = core.clock.update();
        core.load().requests.fetch_add(1, Relaxed);
        core.load().begun.fetch_add(1, Relaxed);
        connection.wire.active.fetch_add(1, Relaxed);
        connection.wire.deadline.begin_serving();
        let logged = |name| match log {
            true => parts.headers.get(name).cloned(),
            false => None,
        };
        Self {
            started,
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            version: parts.version,
            referer: logged(header::REFERER),
            user_agent: logged(header::USER_AGENT),
            authorization: logged(header::AUTHORIZATION),
            request_id: None,
            client: connection.peer.ip(),
            head_bytes: head_bytes(connection, parts),
            progress: None,
            route: None,
            attempts: SmallVec::new(),
            status: CLIENT_CLOSED_REQUEST,
            sent_bytes: 0,
            response_head_bytes: 0,
            core: core.clone(),
            connection: connection.clone(),
        }
    }

    /// The response is decided; from here on its body carries the record.
    pub fn answer(mut self: Box<Self>, mut response: Response<Body>) -> Response<Body> {
        self.status = response.status().as_u16();
        self.response_head_bytes = STATUS_LINE_BYTES + fields_bytes(response.headers());
        response.body_mut().attach(self);
        response
    }

    /// What the response body does, for the task that polls it.
    pub fn note_frame(&self, frame: LastFrame) {
        self.connection.last_frame.set(Some(frame));
    }

    /// So much was given away to be sent.
    pub fn count_sent(&mut self, bytes: usize) {
        self.note_frame(LastFrame::Given);
        self.sent_bytes += bytes as u64;
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.response_bytes += bytes as u64;
        }
    }

    /// The upstream broke off in the middle of its response: too late for another status.
    pub fn upstream_broke(&mut self, error: &hyper::Error) {
        self.core.shared.counters.upstream_broken.add(1);
        tracing::debug!(%error, "upstream broke off its response");
    }

    pub fn request_bytes(&self) -> u64 {
        self.head_bytes + self.progress.as_ref().map_or(0, |p| p.bytes.get())
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let core = &self.core;
        let now = core.clock.update();
        core.load().requests.fetch_sub(1, Relaxed);
        let active = self.connection.wire.active.fetch_sub(1, Relaxed) - 1;
        let view = core.view();
        let global = &view.published.global;
        if active == 0 && !self.connection.wire.is_tunnel.load(Relaxed) {
            // HTTP/2 says GOAWAY and closes by itself.
            let is_last = self.version != Version::HTTP_2
                && (core.is_draining() || self.connection.listening.stop.is_cancelled());
            let idle_ms = match is_last {
                true => 0,
                false => global.keep_alive_timeout_ms,
            };
            let deadline = &self.connection.wire.deadline;
            deadline.arm_idle(core.clock.now_ms() + idle_ms);
        }
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.ended.get_or_insert(now);
        }
        if let Some(route) = &self.route {
            let series = &route.host.routes[route.index as usize].series;
            series.observe(core.id, &Observation::of(self, now));
        } else {
            core.shared.counters.unmatched_requests.add(1);
        }
        if global.access_log {
            self.core
                .log
                .write(|line, clock| access_log::format(line, self, now, clock));
        }
    }
}

impl Attempt {
    pub fn new(endpoint: SocketAddr, started: Instant) -> Self {
        Self {
            endpoint,
            started,
            connected: None,
            responded: None,
            status: 0,
            response_bytes: 0,
            ended: None,
        }
    }
}

/// HTTP/1 heads are measured; an HTTP/2 head counts as what it would have been.
fn head_bytes(connection: &Connection, parts: &Parts) -> u64 {
    if parts.version != Version::HTTP_2 {
        return connection.wire.heads.pop();
    }
    let path = parts.uri.path_and_query().map_or(1, |p| p.as_str().len());
    path as u64 + REQUEST_LINE_BYTES + fields_bytes(&parts.headers)
}

fn fields_bytes(headers: &HeaderMap) -> u64 {
    let fields = headers.iter();
    fields
        .map(|(name, value)| (name.as_str().len() + value.len() + 4) as u64)
        .sum()
}

/// What nginx logs when the client left before there was an answer.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// `HTTP/1.1 200 OK` with both line ends.
const STATUS_LINE_BYTES: u64 = 19;

/// A request line and the empty line, without the target.
const REQUEST_LINE_BYTES: u64 = 18;
