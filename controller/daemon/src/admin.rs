//! `/healthz`, `/readyz` and `/metrics`: what probes and Prometheus ask a controller.

use std::{
    convert::Infallible,
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use http::{Request, Response, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use portcullis_route::spec::Specs;
use portcullis_serve::{Drain, Limits};
use portcullis_translate::Severity;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::{leader::Leadership, link::LinkTls, publish::Outbox};

/// What happened since the start.
#[derive(Default)]
pub(crate) struct Counters {
    /// Specs that differed from those before.
    pub publications: AtomicU64,
    /// Unix seconds of the last one.
    pub published_at: AtomicU64,
    /// Microseconds that the last translation took.
    pub translation_us: AtomicU64,
    /// Proxies that follow now.
    pub proxies: AtomicU64,
    /// Units that proxies said they do not serve as asked.
    pub refusals: AtomicU64,
}

impl Counters {
    pub(crate) fn published(&self) {
        self.publications.fetch_add(1, Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = now.map_or(0, |now| now.as_secs());
        self.published_at.store(seconds, Relaxed);
    }
}

#[derive(Clone)]
pub(crate) struct Admin {
    pub counters: Arc<Counters>,
    pub specs: watch::Receiver<Arc<Specs>>,
    pub outbox: watch::Receiver<Arc<Outbox>>,
    pub leading: watch::Receiver<Leadership>,
    /// Name of the Lease, for the label.
    pub election: String,
    /// Proxies are served by a Secret.
    pub link: Option<LinkTls>,
    pub stopping: CancellationToken,
}

pub(crate) async fn serve(listener: TcpListener, admin: Admin) {
    let drain = Drain::new();
    let (ends, stopping) = (drain.clone(), admin.stopping.clone());
    let limits = Limits {
        max_connections: MAX_CONNECTIONS,
        ..Limits::default()
    };
    let accepting = portcullis_serve::serve(listener, None, limits, drain.clone(), move |_| {
        let admin = admin.clone();
        service_fn(move |request: Request<Incoming>| {
            let answer = admin.answer(request.uri().path());
            async move { Ok::<_, Infallible>(answer) }
        })
    });
    let ending = async {
        stopping.cancelled().await;
        ends.begin();
    };
    tokio::join!(accepting, ending);
    drain.finish(FAREWELL).await;
}

impl Admin {
    fn answer(&self, path: &str) -> Response<Full<Bytes>> {
        match path {
            "/healthz" => self.health(),
            "/readyz" if self.stopping.is_cancelled() => text(503, "stopping"),
            "/readyz" if !self.outbox.borrow().begun => text(503, "waiting for the first lists"),
            "/readyz" if self.link.as_ref().is_some_and(|tls| tls.borrow().is_none()) => {
                text(503, "waiting for the Secret of controllers and proxies")
            }
            "/readyz" => text(200, "ok"),
            "/metrics" => self.metrics(),
            _ => text(404, "not found"),
        }
    }

    /// The publisher is the one task without which nothing happens.
    fn health(&self) -> Response<Full<Bytes>> {
        let is_gone = self.outbox.has_changed().is_err();
        match is_gone && !self.stopping.is_cancelled() {
            true => text(500, "the publisher is gone"),
            false => text(200, "ok"),
        }
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let specs = self.specs.borrow().clone();
        let outbox = self.outbox.borrow().clone();
        let notices = outbox.notices.iter().flat_map(|all| all.iter());
        let warnings = notices.filter(|notice| notice.severity == Severity::Warning);
        let counters = &self.counters;
        let read = |value: &AtomicU64| value.load(Relaxed);
        let mut page = Page::default();
        let leading = u64::from(self.leading.borrow().leads());
        let name = format!("{{name=\"{}\"}}", self.election);
        // ingress-nginx's names: its dashboards show a publication as a reload.
        page.gauge(
            "nginx_ingress_controller_leader_election_status",
            &name,
            leading,
        );
        let published = read(&counters.publications);
        page.counter("nginx_ingress_controller_success", published);
        let success = u64::from(outbox.begun);
        page.gauge(
            "nginx_ingress_controller_config_last_reload_successful",
            "",
            success,
        );
        let at = read(&counters.published_at);
        let name = "nginx_ingress_controller_config_last_reload_successful_timestamp_seconds";
        page.gauge(name, "", at);
        page.gauge("portcullis_controller_ingresses", "", outbox.ours.len());
        page.gauge("portcullis_controller_hosts", "", specs.hosts.len());
        page.gauge("portcullis_controller_backends", "", specs.backends.len());
        page.gauge(
            "portcullis_controller_certificates",
            "",
            specs.certificates.len(),
        );
        page.gauge("portcullis_controller_warnings", "", warnings.count());
        let elapsed = read(&counters.translation_us) as f64 / 1e6;
        page.gauge("portcullis_controller_translation_seconds", "", elapsed);
        page.gauge("portcullis_controller_proxies", "", read(&counters.proxies));
        page.counter(
            "portcullis_controller_refused_units_total",
            read(&counters.refusals),
        );
        let mut response = text(200, "");
        *response.body_mut() = Full::from(page.0);
        response
    }
}

/// Prometheus' text format, version 0.0.4.
#[derive(Default)]
struct Page(String);

impl Page {
    fn gauge(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        self.metric(name, "gauge", labels, value);
    }

    fn counter(&mut self, name: &str, value: u64) {
        self.metric(name, "counter", "", value);
    }

    fn metric(&mut self, name: &str, kind: &str, labels: &str, value: impl std::fmt::Display) {
        let line = writeln!(self.0, "# TYPE {name} {kind}\n{name}{labels} {value}");
        line.expect("a String takes all");
    }
}

fn text(status: u16, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = http::StatusCode::from_u16(status).expect("a status of ours");
    let kind = http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Probes and scrapers are few; more wait.
const MAX_CONNECTIONS: usize = 64;
/// A scrape in progress may end.
const FAREWELL: std::time::Duration = std::time::Duration::from_secs(1);
