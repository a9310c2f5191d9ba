//! Routing, headers, timeouts and metrics of one request.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use async_trait::async_trait;
use http::HeaderValue;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, Result};
use pingora_http::RequestHeader;
use pingora_proxy::{ProxyHttp, Session};
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};
use time::{OffsetDateTime, format_description::BorrowedFormatItem};

use crate::access_log::AccessLog;

pub struct Peer {
    upstream: HttpPeer,
    upstream_text: String,
    listen_port: HeaderValue,
    hosts: HashMap<String, Arc<HostMetrics>>,
    log: Option<AccessLog>,
    time_format: Vec<BorrowedFormatItem<'static>>,
}

pub struct Metrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
}

pub struct HostMetrics {
    requests: IntCounter,
    seconds: Histogram,
}

pub struct Exchange {
    host: Option<Arc<HostMetrics>>,
    request_id: Option<HeaderValue>,
    started: Instant,
}

pub fn register_metrics() -> Metrics {
    let requests = prometheus::register_int_counter_vec!("requests", "Requests by host", &["host"]);
    let seconds = prometheus::register_histogram_vec!(
        "request_duration_seconds",
        "Seconds per request",
        &["host"]
    );
    Metrics {
        requests: requests.expect("registered once"),
        seconds: seconds.expect("registered once"),
    }
}

impl Metrics {
    pub fn cells(&self, host: &str) -> HostMetrics {
        HostMetrics {
            requests: self.requests.with_label_values(&[host]),
            seconds: self.seconds.with_label_values(&[host]),
        }
    }
}

impl Peer {
    pub fn new(
        origin: SocketAddr,
        listen_port: u16,
        hosts: HashMap<String, Arc<HostMetrics>>,
        log: Option<AccessLog>,
    ) -> Self {
        let mut upstream = HttpPeer::new(origin, false, String::new());
        upstream.options.connection_timeout = Some(CONNECT_TIMEOUT);
        upstream.options.read_timeout = Some(READ_TIMEOUT);
        upstream.options.write_timeout = Some(READ_TIMEOUT);
        upstream.options.idle_timeout = Some(UPSTREAM_KEEPALIVE_TIMEOUT);
        Self {
            upstream,
            upstream_text: origin.to_string(),
            listen_port: HeaderValue::from(listen_port),
            hosts,
            log,
            time_format: time::format_description::parse_borrowed::<2>(LOG_TIME)
                .expect("a constant that parses"),
        }
    }

    fn find(&self, request: &RequestHeader) -> Option<Arc<HostMetrics>> {
        let host = request.headers.get(http::header::HOST)?.to_str().ok()?;
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.hosts.get(&name.to_ascii_lowercase()).cloned();
        }
        self.hosts.get(name).cloned()
    }
}

#[async_trait]
impl ProxyHttp for Peer {
    type CTX = Exchange;

    fn new_ctx(&self) -> Exchange {
        Exchange {
            host: None,
            request_id: None,
            started: Instant::now(),
        }
    }

    async fn request_filter(&self, session: &mut Session, exchange: &mut Exchange) -> Result<bool> {
        session.set_keepalive(Some(CLIENT_KEEPALIVE_SECONDS));
        session.set_write_timeout(Some(READ_TIMEOUT));
        exchange.host = self.find(session.req_header());
        if exchange.host.is_none() {
            session.respond_error(404).await?;
            return Ok(true);
        }
        if declared_body_bytes(session.req_header()) > MAX_BODY_BYTES {
            session.respond_error(413).await?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut Exchange) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.upstream.clone()))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        let client = match session.client_addr().and_then(|address| address.as_inet()) {
            Some(address) => HeaderValue::try_from(address.ip().to_string())
                .expect("an address is a header value"),
            None => HeaderValue::from_static(""),
        };
        let host = request.headers.get(http::header::HOST).cloned();
        let request_id = match request.headers.get("x-request-id") {
            Some(id) => id.clone(),
            None => new_request_id(),
        };
        request.insert_header("X-Request-ID", request_id.clone())?;
        request.insert_header("X-Real-IP", client.clone())?;
        request.insert_header("X-Forwarded-For", client)?;
        if let Some(host) = host {
            request.insert_header("X-Forwarded-Host", host)?;
        }
        request.insert_header("X-Forwarded-Port", self.listen_port.clone())?;
        request.insert_header("X-Forwarded-Proto", HeaderValue::from_static("http"))?;
        request.insert_header("X-Forwarded-Scheme", HeaderValue::from_static("http"))?;
        request.insert_header("X-Scheme", HeaderValue::from_static("http"))?;
        exchange.request_id = Some(request_id);
        Ok(())
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, exchange: &mut Exchange) {
        let seconds = exchange.started.elapsed().as_secs_f64();
        if let Some(host) = &exchange.host {
            host.requests.inc();
            host.seconds.observe(seconds);
        }
        if let Some(log) = &self.log {
            self.write_line(log, session, exchange, seconds);
        }
    }
}

impl Peer {
    fn write_line(&self, log: &AccessLog, session: &Session, exchange: &Exchange, seconds: f64) {
        let request = session.req_header();
        let text = |name: &str| {
            let value = request.headers.get(name);
            value
                .and_then(|value| value.to_str().ok())
                .unwrap_or("-")
                .to_owned()
        };
        let client = session
            .client_addr()
            .and_then(|address| address.as_inet())
            .map(|address| address.ip().to_string());
        let now = OffsetDateTime::from(SystemTime::now())
            .format(&self.time_format)
            .unwrap_or_default();
        let status = session
            .response_written()
            .map_or(0, |response| response.status.as_u16());
        log.write(format_args!(
            "{} - - [{now}] \"{} {} {:?}\" {status} {} \"{}\" \"{}\" {} {seconds:.3} [bench-origin-80] [] {} {} {seconds:.3} {status} {}\n",
            client.as_deref().unwrap_or("-"),
            request.method,
            request.uri,
            request.version,
            session.body_bytes_sent(),
            text("referer"),
            text("user-agent"),
            session.body_bytes_read(),
            self.upstream_text,
            session.upstream_body_bytes_received(),
            exchange.request_id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or("-"),
        ));
    }
}

fn declared_body_bytes(request: &RequestHeader) -> u64 {
    let length = request.headers.get(http::header::CONTENT_LENGTH);
    length
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse().ok())
        .unwrap_or(0)
}

/// 32 hexadecimal digits, as nginx's `$request_id`.
fn new_request_id() -> HeaderValue {
    let id = rand::random::<u128>();
    HeaderValue::try_from(format!("{id:032x}")).expect("hexadecimal digits are a header value")
}

/// Timeouts and limits are ingress-nginx's defaults, as every peer of the bench has them.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const UPSTREAM_KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(60);
const CLIENT_KEEPALIVE_SECONDS: u64 = 75;
const MAX_BODY_BYTES: u64 = 1024 * 1024;
const LOG_TIME: &str = "[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000";
