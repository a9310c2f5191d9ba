//! One attempt of a probe or hook: HTTP, TCP, gRPC or a command.

use crate::node::Node;
use crate::pods::configuration::port;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{
    Container, ExecAction, GRPCAction, HTTPGetAction, Probe, TCPSocketAction,
};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Where a check goes when its spec does not say.
pub(crate) struct Subject<'a> {
    pub node: &'a Node,
    pub container: &'a Container,
    pub container_id: &'a str,
    pub ip: Option<IpAddr>,
}

/// `Err` says why in a few words, for the `Unhealthy` event.
pub(crate) type Outcome = Result<(), String>;

pub(crate) async fn probe(subject: &Subject<'_>, probe: &Probe, timeout: Duration) -> Outcome {
    let attempt = async {
        match (&probe.http_get, &probe.tcp_socket, &probe.grpc, &probe.exec) {
            (Some(get), ..) => http_get(subject, get).await,
            (_, Some(socket), ..) => tcp(subject, socket).await,
            (_, _, Some(action), _) => grpc(subject, action).await,
            (.., Some(action)) => exec(subject, action, timeout).await,
            _ => Err("the probe has no action".into()),
        }
    };
    let late = |_| Err(format!("no answer within {} s", timeout.as_secs()));
    tokio::time::timeout(timeout, attempt)
        .await
        .unwrap_or_else(late)
}

pub(crate) async fn http_get(subject: &Subject<'_>, get: &HTTPGetAction) -> Outcome {
    let address = address(
        subject,
        get.host.as_deref(),
        port(&get.port, subject.container),
    )
    .await?;
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| format!("connect to {address}: {error}"))?;
    match get.scheme.as_deref() {
        Some("HTTPS") => {
            let name = rustls::pki_types::ServerName::IpAddress(address.ip().into());
            let connector = tokio_rustls::TlsConnector::from(super::probe_tls::trusting_anyone());
            let stream = connector
                .connect(name, stream)
                .await
                .map_err(|error| format!("TLS with {address}: {error}"))?;
            exchange(stream, address, get).await
        }
        _ => exchange(stream, address, get).await,
    }
}

async fn exchange<S>(stream: S, address: SocketAddr, get: &HTTPGetAction) -> Outcome
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let shake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shake.map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let path = get
        .path
        .as_deref()
        .filter(|path| !path.is_empty())
        .unwrap_or("/");
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    let mut request = http::Request::get(path);
    let custom = get.http_headers.iter().flatten();
    let has = |name: &str| {
        custom
            .clone()
            .any(|header| header.name.eq_ignore_ascii_case(name))
    };
    for (name, value) in [
        ("host", address.to_string().as_str()),
        ("user-agent", AGENT),
        ("accept", "*/*"),
        ("connection", "close"),
    ] {
        if !has(name) {
            request = request.header(name, value);
        }
    }
    for header in custom.clone() {
        request = request.header(&header.name, &header.value);
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = sender
        .send_request(request)
        .await
        .map_err(|error| error.to_string());
    let status = match answer {
        Ok(answer) => {
            let status = answer.status();
            // Read so that the server does not see a reset; a flood is cut.
            let _ = Limited::new(answer.into_body(), LARGEST_BODY)
                .collect()
                .await;
            Ok(status)
        }
        Err(error) => Err(error),
    };
    connection.abort();
    match status? {
        status if (200..400).contains(&status.as_u16()) => Ok(()),
        status => Err(format!(
            "HTTP probe failed with statuscode: {}",
            status.as_u16()
        )),
    }
}

async fn tcp(subject: &Subject<'_>, socket: &TCPSocketAction) -> Outcome {
    let address = address(
        subject,
        socket.host.as_deref(),
        port(&socket.port, subject.container),
    )
    .await?;
    TcpStream::connect(address)
        .await
        .map(drop)
        .map_err(|error| format!("connect to {address}: {error}"))
}

async fn grpc(subject: &Subject<'_>, action: &GRPCAction) -> Outcome {
    let address = address(subject, None, u16::try_from(action.port).ok()).await?;
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| error.to_string())?;
    let channel = channel
        .connect()
        .await
        .map_err(|error| format!("connect to {address}: {error}"))?;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| error.to_string())?;
    let request = tonic::Request::new(HealthRequest {
        service: action.service.clone().unwrap_or_default(),
    });
    let path = http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let codec = tonic_prost::ProstCodec::<HealthRequest, HealthAnswer>::default();
    let answer = client
        .unary(request, path, codec)
        .await
        .map_err(|status| status.message().to_owned())?;
    match answer.into_inner().status {
        SERVING => Ok(()),
        status => Err(format!("service unhealthy (responded with {status})")),
    }
}

pub(crate) async fn exec(subject: &Subject<'_>, action: &ExecAction, timeout: Duration) -> Outcome {
    let command = action.command.as_deref().unwrap_or_default();
    match subject
        .node
        .cri
        .exec(subject.container_id, command, timeout)
        .await
    {
        Ok(0) => Ok(()),
        Ok(code) => Err(format!("command exited with {code}")),
        Err(error) => Err(error.to_string()),
    }
}

async fn address(
    subject: &Subject<'_>,
    host: Option<&str>,
    port: Option<u16>,
) -> Result<SocketAddr, String> {
    let port = port.ok_or("the port is neither a number nor a port of the container")?;
    match host.filter(|host| !host.is_empty()) {
        None => Ok(SocketAddr::new(
            subject.ip.ok_or("the pod has no address")?,
            port,
        )),
        Some(host) => {
            let mut found = tokio::net::lookup_host((host, port))
                .await
                .map_err(|error| format!("{host}: {error}"))?;
            found.next().ok_or_else(|| format!("{host} has no address"))
        }
    }
}

/// gRPC health checking protocol, version 1.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthAnswer {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;
/// What servers see of upstream's kubelet and may rely on.
const AGENT: &str = "kube-probe/1.37";
/// Bytes of a probe's answer that are read before the connection is cut; upstream reads 10 KiB.
const LARGEST_BODY: usize = 10 << 10;
