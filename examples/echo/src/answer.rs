//! One request, one answer.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;

use crate::Echo;
use crate::dump::Dump;

impl Echo {
    /// Answers `/healthz` and `/readyz` for probes and everything else with a dump.
    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        remote: SocketAddr,
    ) -> Response<Full<Bytes>> {
        let version = request.version();
        let mut response = match request.uri().path() {
            "/healthz" => plain(StatusCode::OK, "ok\n"),
            "/readyz" if self.leaving.has_begun() => {
                plain(StatusCode::SERVICE_UNAVAILABLE, "leaving\n")
            }
            "/readyz" => plain(StatusCode::OK, "ok\n"),
            _ => self.echo(request, remote).await,
        };
        if self.leaving.has_begun() && version < Version::HTTP_2 {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn echo(&self, request: Request<Incoming>, remote: SocketAddr) -> Response<Full<Bytes>> {
        let wishes = match Wishes::parse(request.uri().query().unwrap_or_default()) {
            Ok(wishes) => wishes,
            Err(sentence) => return plain(StatusCode::BAD_REQUEST, sentence),
        };
        let (parts, body) = request.into_parts();
        let Ok(body_bytes) = count(body).await else {
            return plain(
                StatusCode::BAD_REQUEST,
                "the request body did not arrive whole\n",
            );
        };
        if !wishes.delay.is_zero() {
            tokio::time::sleep(wishes.delay).await;
        }
        let mut response = match wishes.size {
            Some(size) => {
                let mut response = Response::new(Full::from(vec![b'x'; size]));
                let octets = HeaderValue::from_static("application/octet-stream");
                response.headers_mut().insert(CONTENT_TYPE, octets);
                response
            }
            None => self.dump(&parts, body_bytes, remote),
        };
        *response.status_mut() = wishes.status;
        if let Ok(pod) = HeaderValue::from_str(&self.pod_name) {
            response.headers_mut().insert(POD_HEADER, pod);
        }
        response
    }

    fn dump(
        &self,
        parts: &http::request::Parts,
        body_bytes: u64,
        remote: SocketAddr,
    ) -> Response<Full<Bytes>> {
        let dump = Dump::of(
            parts,
            body_bytes,
            remote,
            &self.pod_name,
            &self.pod_namespace,
        );
        let mut json =
            serde_json::to_vec_pretty(&dump).expect("strings and maps of strings always encode");
        json.push(b'\n');
        let mut response = Response::new(Full::from(json));
        let kind = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}

/// What the query asks of the answer.
#[derive(Debug, PartialEq, Eq)]
struct Wishes {
    /// `delay=250ms` or `delay=2s`: wait before answering.
    delay: Duration,
    /// `status=503`: answer with this status.
    status: StatusCode,
    /// `size=1000`: answer with so many bytes instead of the dump.
    size: Option<usize>,
}

impl Wishes {
    fn parse(query: &str) -> Result<Self, &'static str> {
        let mut wishes = Self {
            delay: Duration::ZERO,
            status: StatusCode::OK,
            size: None,
        };
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "delay" => wishes.delay = delay(value).ok_or(BAD_DELAY)?,
                "status" => wishes.status = status(value).ok_or(BAD_STATUS)?,
                "size" => wishes.size = Some(size(value).ok_or(BAD_SIZE)?),
                _ => {}
            }
        }
        Ok(wishes)
    }
}

fn delay(value: &str) -> Option<Duration> {
    let delay = match value.strip_suffix("ms") {
        Some(milliseconds) => Duration::from_millis(milliseconds.parse().ok()?),
        None => Duration::from_secs(value.strip_suffix('s')?.parse().ok()?),
    };
    (delay <= MAX_DELAY).then_some(delay)
}

/// Informational statuses are none that a final answer can have.
fn status(value: &str) -> Option<StatusCode> {
    let status = StatusCode::from_bytes(value.as_bytes()).ok()?;
    (status.as_u16() >= 200 && status.as_u16() < 600).then_some(status)
}

fn size(value: &str) -> Option<usize> {
    value.parse().ok().filter(|size| *size <= MAX_SIZE_BYTES)
}

/// Reads the body without keeping it, so that its size has no limit.
async fn count(mut body: Incoming) -> Result<u64, hyper::Error> {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame?.data_ref().map_or(0, |data| data.len() as u64);
    }
    Ok(bytes)
}

fn plain(status: StatusCode, sentence: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(sentence));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// The longest `delay`: below the drain deadline, so that a slow answer survives a shutdown.
pub const MAX_DELAY: Duration = Duration::from_secs(15);

/// The largest `size`: it is held in memory once per request.
pub const MAX_SIZE_BYTES: usize = 16 * 1024 * 1024;

/// Names the answering pod also where the body does not.
const POD_HEADER: HeaderName = HeaderName::from_static("x-echo-pod");

const BAD_DELAY: &str = "delay must be like 250ms or 2s, at most 15s\n";
const BAD_STATUS: &str = "status must be from 200 to 599\n";
const BAD_SIZE: &str = "size must be a number of bytes, at most 16777216\n";
