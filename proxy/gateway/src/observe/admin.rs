//! The admin endpoint: `/healthz`, `/readyz`, `/metrics`, on a thread of its own so that no load can starve it.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::SystemTime,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::exposition::Scrape;
use crate::gateway::State;

/// A running admin endpoint; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Admin {
    pub address: SocketAddr,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Admin {
    /// # Errors
    /// The address is in use or not local, or the system refuses a thread.
    pub fn start(address: SocketAddr, state: Arc<State>) -> io::Result<Self> {
        let socket = match std::net::TcpListener::bind(address) {
            // A machine without IPv6: every address is then every IPv4 address.
            Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && !is_taken(&error) => {
                std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port()))?
            }
            bound => bound?,
        };
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = stopped => {}
                        () = run(socket, state) => {}
                    }
                });
            })?;
        Ok(Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

fn is_taken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied
    )
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn run(socket: std::net::TcpListener, state: Arc<State>) {
    let listener = match TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "admin listener cannot be watched");
            return;
        }
    };
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        let state = state.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let response = answer(&state, &request);
                async move { Ok::<_, Infallible>(response) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "admin connection ended");
            }
        });
    }
}

fn answer(state: &State, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "ok"),
        "/readyz" if is_verbose(request) => verbose(state),
        "/readyz" if state.is_ready() => text(StatusCode::OK, "ok"),
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready"),
        "/metrics" => metrics(state),
        _ => text(StatusCode::NOT_FOUND, "not found\n"),
    }
}

fn is_verbose(request: &Request<Incoming>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    let mut names = query.split('&').filter_map(|pair| pair.split('=').next());
    names.any(|name| name == "verbose")
}

/// Check by check, as the Kubernetes API server answers. A controller that is away is told and fails nothing: what is
/// served stays.
fn verbose(state: &State) -> Response<Full<Bytes>> {
    let shared = &state.shared;
    let (table, unbound) = (shared.version.load(Relaxed), shared.unbound.load(Relaxed));
    let line = |is_ok: bool, text: String| match is_ok {
        true => format!("[+]{text}\n"),
        false => format!("[-]{text}\n"),
    };
    let mut body = line(table > 0, format!("table {table}"));
    body += &line(
        unbound == 0,
        format!("listeners, {unbound} cannot be opened"),
    );
    let is_draining = shared.is_draining.load(Relaxed);
    body += &line(!is_draining, "no drain has begun".to_owned());
    if let Some(link) = state.link() {
        let age = link.set_age(SystemTime::now()).map(|age| age.as_secs());
        let told = match (link.is_connected, age) {
            (true, Some(_)) if link.is_current => "controller followed".to_owned(),
            (true, Some(age)) => {
                format!("controller found, its set awaited, serving one {age} s old")
            }
            (true, None) => "controller found, its first set awaited".to_owned(),
            (false, Some(age)) => format!("controller away, serving a set {age} s old"),
            (false, None) => "controller away, no set to serve".to_owned(),
        };
        body += &line(age.is_some(), told);
    }
    let (status, end) = match state.is_ready() {
        true => (StatusCode::OK, "passed"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "failed"),
    };
    text(status, format!("{body}readyz check {end}\n"))
}

fn metrics(state: &State) -> Response<Full<Bytes>> {
    let scrape = Scrape {
        identity: &state.identity,
        shared: &state.shared,
        series: state.all_series(),
        link: state.link(),
    };
    let mut response = text(StatusCode::OK, scrape.encode());
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    response
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}
