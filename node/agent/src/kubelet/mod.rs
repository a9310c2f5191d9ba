//! The kubelet's HTTPS API: logs for `kubectl logs`, the node's pods, health.

mod logs;
mod query;

use crate::error::{Error, Result};
use crate::node::Node;
use crate::pods::Directory;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use portcullis_serve::{BindOptions, Drain, Limits, Peer, listen, serve, tls};
use serde_json::json;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

pub(crate) type Body = BoxBody<Bytes, std::io::Error>;

/// The kubelet's certificate, and whose clients it serves.
#[derive(Clone)]
pub struct Serving {
    /// PEM, leaf first.
    pub certificate_pem: String,
    /// PEM.
    pub key_pem: String,
    /// PEM of the authority that signs the API server's kubelet client certificate. Nobody else may connect.
    pub client_authority_pem: String,
    /// Common names allowed among its certificates; empty allows all.
    pub client_names: Vec<String>,
}

#[derive(Clone)]
struct Kubelet {
    node: Arc<Node>,
    pods: Directory,
    drain: Drain,
    client_names: Arc<[String]>,
}

/// Listens; the address it got. Serving goes on in the background until the drain.
pub(crate) fn start(
    address: SocketAddr,
    serving: &Serving,
    node: Arc<Node>,
    pods: Directory,
    drain: Drain,
) -> Result<SocketAddr> {
    let unusable = |error: tls::TlsError| Error::Certificate {
        reason: error.to_string(),
    };
    let certificate =
        tls::CertificateSlot::new(&serving.certificate_pem, &serving.key_pem).map_err(unusable)?;
    let clients = tls::ClientAuth::Required(&serving.client_authority_pem);
    let config =
        tls::server_config(certificate, clients, tls::Alpn::Http2AndHttp1).map_err(unusable)?;
    let failed = |source: std::io::Error| Error::Listen { address, source };
    let listener = listen(address, BindOptions::default())
        .map_err(|error| failed(std::io::Error::other(error)))?;
    let bound = listener.local_addr().map_err(failed)?;
    let kubelet = Kubelet {
        node,
        pods,
        drain: drain.clone(),
        client_names: serving.client_names.clone().into(),
    };
    tokio::spawn(serve(
        listener,
        Some(config),
        Limits::default(),
        drain,
        move |peer: &Peer| {
            let kubelet = kubelet.clone();
            let allowed = kubelet.allows(peer);
            hyper::service::service_fn(move |request: Request<Incoming>| {
                let kubelet = kubelet.clone();
                async move {
                    let answer = match allowed {
                        true => kubelet.answer(&request).await,
                        false => text(
                            StatusCode::FORBIDDEN,
                            "this client certificate may not use the kubelet API",
                        ),
                    };
                    Ok::<_, Infallible>(answer)
                }
            })
        },
    ));
    Ok(bound)
}

impl Kubelet {
    fn allows(&self, peer: &Peer) -> bool {
        if self.client_names.is_empty() {
            return true;
        }
        let leaf = peer
            .tls
            .as_ref()
            .and_then(|tls| tls.client_certificates.first());
        let name = leaf
            .and_then(|leaf| portcullis_pki::CertificateInfo::from_der(leaf).ok())
            .map(|info| info.common_name);
        name.is_some_and(|name| self.client_names.contains(&name))
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        if !matches!(*request.method(), http::Method::GET | http::Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
        }
        let path = request.uri().path();
        let segments: Vec<_> = path.trim_matches('/').split('/').collect();
        match segments.as_slice() {
            ["healthz"] | ["healthz", "ping" | "log"] => text(StatusCode::OK, "ok"),
            ["pods"] => self.list(),
            ["containerLogs", namespace, pod, container] => {
                let options = match query::parse(request.uri().query().unwrap_or("")) {
                    Ok(options) => options,
                    Err(message) => return text(StatusCode::BAD_REQUEST, &message),
                };
                let Some(pod) = self.pods.find(namespace, pod) else {
                    return text(StatusCode::NOT_FOUND, &format!("pod \"{pod}\" not found"));
                };
                logs::answer(&self.node, &pod, container, options, self.drain.clone())
            }
            _ => text(StatusCode::NOT_FOUND, "404 page not found"),
        }
    }

    fn list(&self) -> Response<Body> {
        let items: Vec<_> = self
            .pods
            .all()
            .iter()
            .map(|pod| serde_json::to_value(pod.as_ref()).unwrap_or_default())
            .collect();
        let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items});
        let mut answer = text(StatusCode::OK, &list.to_string());
        answer.headers_mut().insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("application/json"),
        );
        answer
    }
}

pub(crate) fn text(status: StatusCode, message: &str) -> Response<Body> {
    let body = Full::new(Bytes::copy_from_slice(message.as_bytes()))
        .map_err(|never| match never {})
        .boxed();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    answer
}
