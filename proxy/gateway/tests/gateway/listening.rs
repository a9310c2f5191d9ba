//! Listeners and TLS: added, removed, refused, by name.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use portcullis_gateway::{
    Config, Limits,
    spec::{CertificateSpec, FixedResponse, HostMatch, ListenerProtocol, PrivateKey, StepSpec},
};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::stage::{Client, Origin, PATIENCE, Stage, eventually, get, listener, ok, read_message};

fn certificate(name: &str, hosts: &[&str]) -> CertificateSpec {
    let names: Vec<String> = hosts.iter().map(|h| (*h).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    CertificateSpec {
        name: name.into(),
        server_names: hosts.iter().map(|h| HostMatch::parse(h).unwrap()).collect(),
        chain: vec![made.cert.der().to_vec()],
        key: PrivateKey(made.signing_key.serialize_der()),
    }
}

async fn connect(address: SocketAddr, name: &str, alpn: &[&str]) -> TlsStream<TcpStream> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(trust::Anyone(provider)))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.unwrap()
}

async fn served(address: SocketAddr, name: &str) -> CertificateDer<'static> {
    let stream = connect(address, name, &[]).await;
    stream.get_ref().1.peer_certificates().unwrap()[0]
        .clone()
        .into_owned()
}

#[tokio::test]
async fn certificates_are_chosen_by_name() {
    let mut stage = Stage::start(Default::default());
    stage.apply();
    let https = stage.address("https");
    let fake = served(https, "a.example").await;
    let text = String::from_utf8_lossy(&fake).into_owned();
    assert!(text.contains("Kubernetes Ingress Controller Fake Certificate"));
    let exact = certificate("ns/exact", &["a.example"]);
    let wildcard = certificate("ns/wildcard", &["*.a.example"]);
    let mut broken = certificate("ns/broken", &["broken.example"]);
    broken.chain = vec![b"not a certificate".to_vec()];
    let parts = [&exact, &wildcard, &broken];
    stage.specs.certificates = parts.iter().map(|c| Arc::new((*c).clone())).collect();
    let report = stage.apply();
    assert_eq!(report.refusals.len(), 1, "{report:?}");
    assert_eq!(report.refusals[0].unit, "certificate ns/broken");
    assert_eq!(served(https, "a.example").await.to_vec(), exact.chain[0]);
    assert_eq!(served(https, "A.Example").await.to_vec(), exact.chain[0]);
    assert_eq!(
        served(https, "x.a.example").await.to_vec(),
        wildcard.chain[0]
    );
    assert_eq!(served(https, "x.y.a.example").await, fake);
    assert_eq!(served(https, "broken.example").await, fake);
    let mut default = certificate("ns/default", &["other"]);
    default.server_names = vec![HostMatch::Any];
    stage.specs.certificates = vec![Arc::new(default.clone())];
    stage.apply();
    assert_eq!(served(https, "a.example").await.to_vec(), default.chain[0]);
}

#[tokio::test]
async fn https_speaks_http1_and_http2_with_hsts() {
    let origin = Origin::named("a").await;
    let mut stage = Stage::start(Default::default());
    stage.forward("a", &[origin.address]);
    stage.apply();
    let https = stage.address("https");
    let mut stream = connect(https, "a", &["http/1.1"]).await;
    let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text).await;
    assert!(
        text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\na"),
        "{text}"
    );
    assert!(text.contains("strict-transport-security: max-age=31536000; includeSubDomains\r\n"));
    let stream = connect(https, "a", &["h2"]).await;
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    for _ in 0..3 {
        let request = Request::get("https://a/x?y").version(Version::HTTP_2);
        let request = request.header("cookie", "a=b").header("cookie", "c=d");
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), response.version()),
            (200, Version::HTTP_2)
        );
        assert_eq!(
            response.into_body().collect().await.unwrap().to_bytes(),
            "a"
        );
    }
    let seen = origin.requests().pop().unwrap();
    assert!(seen.starts_with("GET /x?y HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("host: a\r\n") && seen.contains("x-forwarded-proto: https\r\n"));
    assert!(seen.contains("\r\ncookie: a=b; c=d\r\n"), "{seen}");
}

#[tokio::test]
async fn an_http2_connection_is_drained_without_an_error() {
    let origin = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut stage = Stage::start(Default::default());
    stage.forward("a", &[origin.local_addr().unwrap()]);
    stage.apply();
    let stream = connect(stage.address("https"), "a", &["h2"]).await;
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let mut request = || {
        let request = Request::get("https://a/").body(Empty::<Bytes>::new());
        sender.send_request(request.unwrap())
    };
    let (first, second) = (tokio::spawn(request()), tokio::spawn(request()));
    let mut asked = vec![];
    for _ in 0..2 {
        let (mut stream, _) = origin.accept().await.unwrap();
        read_message(&mut stream, &mut vec![]).await.unwrap();
        asked.push(stream);
    }
    let http = stage.http();
    let gateway = stage.gateway;
    let drain = tokio::spawn(async move { gateway.drain(PATIENCE).await });
    eventually("the drain", || std::net::TcpStream::connect(http).is_err()).await;
    for stream in &mut asked {
        stream.write_all(ok("done").as_bytes()).await.unwrap();
    }
    for response in [first, second] {
        let response = response.await.unwrap().unwrap();
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.to_bytes(), "done");
    }
    assert_eq!(drain.await.unwrap().cut_connections, 0);
    let ended = connection.await.unwrap();
    ended.expect("GOAWAY, then an orderly end");
}

#[tokio::test]
async fn listeners_come_and_go_while_others_serve() {
    let mut stage = Stage::start(Default::default());
    let step = StepSpec::Respond(FixedResponse {
        status: 200,
        content_type: String::new(),
        body: "x".into(),
    });
    stage.route("", vec![step]);
    stage.apply();
    let http = stage.http();
    let mut kept = Client::connect(http).await;
    assert_eq!(
        kept.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.status,
        200
    );
    let mut second = listener("second", ListenerProtocol::Http);
    second.address = "::".parse().unwrap();
    stage.specs.listeners.push(Arc::new(second));
    let mut taken = listener("taken", ListenerProtocol::Http);
    let occupant = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    taken.port = occupant.local_addr().unwrap().port();
    stage.specs.listeners.push(Arc::new(taken));
    let report = stage.apply();
    assert_eq!(report.refusals.len(), 1, "{report:?}");
    assert_eq!(report.refusals[0].unit, "listener taken");
    let names: Vec<&str> = report.bound.iter().map(|b| b.name.as_str()).collect();
    assert_eq!(names, ["http", "https", "second"]);
    let port = stage.address("second").port();
    for address in ["127.0.0.1", "::1"] {
        let address = SocketAddr::new(address.parse().unwrap(), port);
        assert_eq!(get(address, "a", "/").await.status, 200);
    }
    let second = SocketAddr::new("127.0.0.1".parse().unwrap(), port);
    let mut client = Client::connect(second).await;
    assert_eq!(
        client
            .send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .status,
        200
    );
    stage.specs.listeners.retain(|l| l.name.starts_with("http"));
    stage.apply();
    assert!(client.is_closed().await, "its idle connections are let go");
    let is_refused = || std::net::TcpStream::connect(second).is_err();
    eventually("the port is closed", is_refused).await;
    assert_eq!(
        kept.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.status,
        200
    );
    // The port is free now: the refused listener is tried again at the next set.
    drop(occupant);
    assert_eq!(stage.address("http"), http);
}

async fn http2(
    stage: &Stage,
    window: Option<u32>,
) -> hyper::client::conn::http2::SendRequest<Empty<Bytes>> {
    let stream = connect(stage.address("https"), "a", &["h2"]).await;
    let executor = hyper_util::rt::TokioExecutor::new();
    let (sender, connection) = hyper::client::conn::http2::Builder::new(executor)
        .initial_stream_window_size(window)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

fn impatient(host: &str, origin: SocketAddr) -> Stage {
    let mut stage = Stage::start(Config {
        limits: Limits {
            send_timeout: Duration::from_millis(300),
            ..Limits::default()
        },
        ..Config::default()
    });
    stage.forward(host, &[origin]);
    stage.apply();
    stage
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";

#[tokio::test]
async fn an_http2_client_that_opens_no_window_is_reset_and_frees_its_upstream() {
    let origin = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stage = impatient("a", origin.local_addr().unwrap());
    let mut sender = http2(&stage, Some(0)).await;
    let mut asked = vec![];
    let mut responses = vec![];
    for _ in 0..4 {
        let request = Request::get("https://a/").body(Empty::<Bytes>::new());
        let response = tokio::spawn(sender.send_request(request.unwrap()));
        let (mut stream, _) = origin.accept().await.unwrap();
        read_message(&mut stream, &mut vec![]).await.unwrap();
        stream.write_all(CHUNKED.as_bytes()).await.unwrap();
        asked.push(stream);
        responses.push(response.await.unwrap().unwrap());
    }
    for mut stream in asked {
        let closed = tokio::time::timeout(PATIENCE, stream.read(&mut [0])).await;
        assert_eq!(closed.expect("closed in time").unwrap_or(0), 0);
    }
    for response in responses {
        assert!(response.into_body().collect().await.is_err());
    }
}

#[tokio::test]
async fn an_http2_client_that_waits_for_its_upstream_is_not_reset() {
    let origin = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stage = impatient("a", origin.local_addr().unwrap());
    let mut sender = http2(&stage, None).await;
    let request = Request::get("https://a/").body(Empty::<Bytes>::new());
    let response = tokio::spawn(sender.send_request(request.unwrap()));
    let (mut stream, _) = origin.accept().await.unwrap();
    read_message(&mut stream, &mut vec![]).await.unwrap();
    stream.write_all(CHUNKED.as_bytes()).await.unwrap();
    // Longer than the send timeout, which is not what this waits for.
    let mut pace = tokio::time::interval(Duration::from_millis(700));
    pace.tick().await;
    pace.tick().await;
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let body = response.await.unwrap().unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "hello");
}

mod trust {
    //! A client that trusts everybody: these tests look at the certificate themselves.

    use std::sync::Arc;

    use rustls::{
        DigitallySignedStruct, Error, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::CryptoProvider,
    };
    use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

    #[derive(Debug)]
    pub struct Anyone(pub Arc<CryptoProvider>);

    impl ServerCertVerifier for Anyone {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}
