//! Requests to kubelets: TLS with the server's own client certificate, trusting only the cluster's authority.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use portcullis_resource::error::ApiError;
use portcullis_serve::tls::{Alpn, TlsError, client_config};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::body::{Body, BoxError};
use crate::object::text;
use crate::pki::Pki;

pub(crate) struct Kubelets {
    tls: Arc<ClientConfig>,
}

impl Kubelets {
    pub(crate) fn new(pki: &Pki) -> Result<Self, TlsError> {
        let identity = pki.kubelet_client();
        let identity = (identity.certificate_pem.as_str(), identity.key_pem.as_str());
        Ok(Self {
            tls: client_config(pki.ca_pem(), Some(identity), Alpn::Http1)?,
        })
    }

    /// GET from a node's kubelet, streamed.
    ///
    /// # Errors
    /// 500 when the kubelet cannot be reached (as upstream), otherwise its own answer as a Status.
    pub(crate) async fn fetch(
        &self,
        node: &Value,
        path: &str,
        streams: bool,
    ) -> Result<Response<Body>, ApiError> {
        let (address, port) = endpoint(node)?;
        let unreachable = |e: BoxError| {
            ApiError::Internal(format!("Get \"https://{address}:{port}{path}\": {e}"))
        };
        let asked = tokio::time::timeout(CONNECT_TIMEOUT, self.ask(address, port, path, streams));
        let answer = match asked.await {
            Ok(answer) => answer.map_err(unreachable)?,
            Err(_) => return Err(unreachable("the kubelet did not answer in time".into())),
        };
        if answer.status() != StatusCode::OK {
            let code = answer.status();
            let said = Limited::new(answer.into_body(), MAX_ERROR_BYTES)
                .collect()
                .await;
            let said = said.map(|s| String::from_utf8_lossy(&s.to_bytes()).trim().to_owned());
            let said = said.unwrap_or_default();
            return Err(match code {
                StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => ApiError::BadRequest(said),
                _ => ApiError::Internal(said),
            });
        }
        let (_, body) = answer.into_parts();
        let mut response = Response::new(body.map_err(BoxError::from).boxed_unsync());
        let plain = http::HeaderValue::from_static("text/plain");
        response
            .headers_mut()
            .insert(http::header::CONTENT_TYPE, plain);
        Ok(response)
    }

    async fn ask(
        &self,
        address: IpAddr,
        port: u16,
        path: &str,
        streams: bool,
    ) -> Result<Response<hyper::body::Incoming>, BoxError> {
        let stream = TcpStream::connect((address, port)).await?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let stream = connector
            .connect(ServerName::IpAddress(address.into()), stream)
            .await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Ends when the response body is read or dropped: one connection per request.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, streams, "a connection to a kubelet ended early");
            }
        });
        let request = Request::get(path)
            .header(HOST, format!("{address}:{port}"))
            .body(Empty::<Bytes>::new())?;
        Ok(sender.send_request(request).await?)
    }
}

fn endpoint(node: &Value) -> Result<(IpAddr, u16), ApiError> {
    let name = text(node, "/metadata/name");
    let missing = |what: &str| ApiError::Internal(format!("no {what} known for node {name}"));
    let addresses = node.pointer("/status/addresses").and_then(Value::as_array);
    let address = addresses
        .into_iter()
        .flatten()
        .find(|a| text(a, "/type") == "InternalIP")
        .and_then(|a| text(a, "/address").parse().ok())
        .ok_or_else(|| missing("preferred addresses"))?;
    let port = node
        .pointer("/status/daemonEndpoints/kubeletEndpoint/Port")
        .and_then(Value::as_u64);
    let port = port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0);
    Ok((address, port.ok_or_else(|| missing("kubelet port"))?))
}

/// From the first packet to the head of the answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Of a refusal's text that is passed on.
const MAX_ERROR_BYTES: usize = 16 * 1024;
