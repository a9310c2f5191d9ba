//! `/healthz`, `/readyz` and `/metrics`.

use super::metrics::Gauges;
use super::server::Server;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use portcullis_serve::{Drain, Limits};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Serves until `drain` begins.
pub(crate) async fn serve(listener: TcpListener, server: Arc<Server>, drain: Drain) {
    let limits = Limits {
        max_connections: MOST_CONNECTIONS,
        ..Limits::default()
    };
    let stopping = drain.clone();
    portcullis_serve::serve(listener, None, limits, drain, move |_| {
        let (server, stopping) = (server.clone(), stopping.clone());
        service_fn(move |request: Request<Incoming>| {
            let answer = answer(&server, stopping.has_begun(), request.uri().path());
            async move { Ok::<_, Infallible>(answer) }
        })
    })
    .await;
}

fn answer(server: &Server, is_stopping: bool, path: &str) -> Response<Full<Bytes>> {
    let published = server.zone.load();
    match path {
        "/healthz" => text(StatusCode::OK, "ok".into()),
        "/readyz" if is_stopping => text(StatusCode::SERVICE_UNAVAILABLE, "stopping".into()),
        "/readyz" if !published.is_complete => {
            let waiting = "waiting for the first lists".into();
            text(StatusCode::SERVICE_UNAVAILABLE, waiting)
        }
        "/readyz" => text(StatusCode::OK, "ok".into()),
        "/metrics" => {
            let page = server.metrics.page(&Gauges {
                is_ready: published.is_complete,
                services: published.zone.services(),
                cache_entries: server.forwarder.kept(),
            });
            text(StatusCode::OK, page)
        }
        _ => text(StatusCode::NOT_FOUND, "not found".into()),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Probes and scrapers are few; more wait.
const MOST_CONNECTIONS: usize = 64;
