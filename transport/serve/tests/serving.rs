//! Real sockets against a real server.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis_pki::{Authority, CertificateRequest, Issued, Usage};
use portcullis_serve::tls::{Alpn, CertificateSlot, ClientAuth, client_config, server_config};
use portcullis_serve::{BindOptions, Drain, Drained, Limits, Peer, bind, listen, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let server = Server::plain(Limits::default());
    let mut client = server.connect().await;
    for _ in 0..3 {
        client
            .write_all(b"GET /peer HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        let answer = read_answer(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.ends_with("plain 127.0.0.1"), "{answer}");
    }
}

#[tokio::test]
async fn http2_works_by_prior_knowledge() {
    let server = Server::plain(Limits::default());
    let stream = server.connect().await;
    assert_eq!(http2_get(stream, "/peer").await, "plain 127.0.0.1");
}

#[tokio::test]
async fn tls_tells_who_the_peer_is() {
    let house = House::new();
    let server = Server::tls(
        &house,
        ClientAuth::Optional(house.authority.certificate_pem()),
    );
    let identity = house.issue("alice", Usage::Client);
    let stream = server.tls_connect(&house, Some(&identity)).await.unwrap();
    assert_eq!(
        http2_get(stream, "/peer").await,
        "alice at localhost over h2"
    );
    let stream = server.tls_connect(&house, None).await.unwrap();
    assert_eq!(
        http2_get(stream, "/peer").await,
        "nobody at localhost over h2"
    );
}

#[tokio::test]
async fn a_required_client_certificate_is_required() {
    let house = House::new();
    let server = Server::tls(
        &house,
        ClientAuth::Required(house.authority.certificate_pem()),
    );
    let identity = house.issue("alice", Usage::Client);
    let stream = server.tls_connect(&house, Some(&identity)).await.unwrap();
    assert_eq!(
        http2_get(stream, "/peer").await,
        "alice at localhost over h2"
    );
    // In TLS 1.3 the refusal arrives with the first read.
    let mut stream = server.tls_connect(&house, None).await.unwrap();
    let read = stream.read(&mut [0; 64]).await;
    assert!(read.is_err(), "{read:?}");
}

#[tokio::test]
async fn a_certificate_is_exchanged_under_a_running_server() {
    let house = House::new();
    let server = Server::tls(&house, ClientAuth::None);
    let shown = async || {
        let stream = server.tls_connect(&house, None).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let before = shown().await;
    assert_eq!(before, shown().await);
    let other = house.issue("localhost", Usage::Server);
    let slot = server.slot.as_ref().unwrap();
    slot.replace(&other.certificate_pem, "not a key")
        .unwrap_err();
    assert_eq!(before, shown().await);
    slot.replace(&other.certificate_pem, other.key.pem())
        .unwrap();
    assert_ne!(before, shown().await);
}

#[tokio::test]
async fn a_head_that_does_not_end_is_cut() {
    let server = Server::plain(Limits {
        header_read_timeout: SHORT,
        ..Limits::default()
    });
    let mut client = server.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
    assert_eq!(read_to_end(&mut client).await, "");
    // Also on a connection that has served before.
    let mut client = server.connect().await;
    client
        .write_all(b"GET /peer HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    read_answer(&mut client).await;
    client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    assert_eq!(read_to_end(&mut client).await, "");
}

#[tokio::test]
async fn an_idle_connection_closes_and_a_silent_response_does_not() {
    let mut server = Server::plain(Limits {
        idle_timeout: SHORT,
        header_read_timeout: SHORT,
        ..Limits::default()
    });
    let mut watching = server.connect().await;
    watching
        .write_all(b"GET /stream HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let body = server.streams.recv().await.unwrap();
    for _ in 0..3 {
        let mut idle = server.connect().await;
        idle.write_all(b"GET /peer HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        read_answer(&mut idle).await;
        assert_eq!(read_to_end(&mut idle).await, "");
    }
    body.send("still here").await.unwrap();
    drop(body);
    assert!(read_to_end(&mut watching).await.contains("still here"));
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_refused() {
    let server = Server::plain(Limits {
        max_header_bytes: 8 * 1024,
        ..Limits::default()
    });
    let mut client = server.connect().await;
    let head = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "y".repeat(9 * 1024)
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let answer = read_answer(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let server = Server::plain(Limits {
        max_connections: 1,
        ..Limits::default()
    });
    let mut first = server.connect().await;
    first
        .write_all(b"GET /peer HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    read_answer(&mut first).await;
    let mut second = server.connect().await;
    second
        .write_all(b"GET /peer HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    drop(first);
    let answer = read_answer(&mut second).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_progress() {
    let mut server = Server::plain(Limits::default());
    let mut idle = server.connect().await;
    idle.write_all(b"GET /peer HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    read_answer(&mut idle).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /stream HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let body = server.streams.recv().await.unwrap();
    let mut fresh = server.connect().await;

    let drain = server.drain.clone();
    drain.begin();
    assert_eq!(read_to_end(&mut idle).await, "");
    fresh
        .write_all(b"GET /peer HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let answer = read_to_end(&mut fresh).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let finish = tokio::spawn(async move { drain.finish(Duration::from_secs(10)).await });
    body.send("the end").await.unwrap();
    drop(body);
    assert!(read_to_end(&mut busy).await.contains("the end"));
    assert_eq!(finish.await.unwrap(), Drained { cut: 0 });
    TcpStream::connect(server.address).await.unwrap_err();
}

#[tokio::test]
async fn a_drain_cuts_what_does_not_end() {
    let mut server = Server::plain(Limits::default());
    let mut busy = server.connect().await;
    busy.write_all(b"GET /stream HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let _body = server.streams.recv().await.unwrap();
    assert_eq!(server.drain.finish(SHORT).await, Drained { cut: 1 });
}

#[tokio::test]
async fn a_child_drains_alone_or_with_its_parent() {
    let parent = Drain::new();
    let (one, other) = (parent.child(), parent.child());
    one.begin();
    assert!(one.has_begun() && !parent.has_begun() && !other.has_begun());
    parent.begin();
    assert!(other.has_begun());
}

#[test]
fn a_busy_port_gets_a_sentence() {
    let first = bind("127.0.0.1:0".parse().unwrap(), BindOptions::default()).unwrap();
    let address = first.local_addr().unwrap();
    let error = bind(address, BindOptions::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot listen on {address}: the port is in use by another process")
    );
}

#[test]
fn a_port_is_shared_when_both_want_it() {
    let options = BindOptions {
        reuse_port: true,
        ..BindOptions::default()
    };
    let first = bind("127.0.0.1:0".parse().unwrap(), options).unwrap();
    bind(first.local_addr().unwrap(), options).unwrap();
}

/// A running server, drained when the test ends with its runtime.
struct Server {
    address: SocketAddr,
    drain: Drain,
    streams: mpsc::Receiver<mpsc::Sender<&'static str>>,
    slot: Option<Arc<CertificateSlot>>,
}

impl Server {
    fn plain(limits: Limits) -> Self {
        Self::start(limits, None, None)
    }

    fn tls(house: &House, clients: ClientAuth<'_>) -> Self {
        let own = house.issue("localhost", Usage::Server);
        let slot = CertificateSlot::new(&own.certificate_pem, own.key.pem()).unwrap();
        let config = server_config(slot.clone(), clients, Alpn::Http2AndHttp1).unwrap();
        Self::start(Limits::default(), Some(config), Some(slot))
    }

    fn start(
        limits: Limits,
        tls: Option<Arc<rustls::ServerConfig>>,
        slot: Option<Arc<CertificateSlot>>,
    ) -> Self {
        let listener = listen("[::]:0".parse().unwrap(), BindOptions::default()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let drain = Drain::new();
        let (sender, streams) = mpsc::channel(1);
        let factory = move |peer: &Peer| {
            let who = describe(peer);
            let sender = sender.clone();
            service_fn(move |request| answer(request, who.clone(), sender.clone()))
        };
        tokio::spawn(serve(listener, tls, limits, drain.clone(), factory));
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            drain,
            streams,
            slot,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn tls_connect(
        &self,
        house: &House,
        identity: Option<&Issued>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let identity = identity.map(|issued| (issued.certificate_pem.as_str(), issued.key.pem()));
        let config = client_config(
            house.authority.certificate_pem(),
            identity,
            Alpn::Http2AndHttp1,
        )
        .unwrap();
        let name = "localhost".try_into().unwrap();
        TlsConnector::from(config)
            .connect(name, self.connect().await)
            .await
    }
}

/// `/peer` says who asks, `/stream` hands its body's sender to the test.
async fn answer(
    request: Request<Incoming>,
    who: String,
    streams: mpsc::Sender<mpsc::Sender<&'static str>>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    if request.uri().path() != "/stream" {
        return Ok(Response::new(BoxBody::new(who)));
    }
    let (sender, mut receiver) = mpsc::channel::<&'static str>(1);
    streams.send(sender).await.unwrap();
    let frames = futures::stream::poll_fn(move |context| {
        receiver
            .poll_recv(context)
            .map(|text| text.map(|text| Ok(Frame::data(Bytes::from(text)))))
    });
    Ok(Response::new(BoxBody::new(StreamBody::new(frames))))
}

fn describe(peer: &Peer) -> String {
    let Some(tls) = &peer.tls else {
        return format!("plain {}", peer.remote.ip());
    };
    let who = match tls.client_certificates.first() {
        Some(leaf) => {
            portcullis_pki::CertificateInfo::from_der(leaf)
                .unwrap()
                .common_name
        }
        None => "nobody".to_owned(),
    };
    let name = tls.server_name.as_deref().unwrap_or("-");
    let alpn = String::from_utf8(tls.alpn.clone().unwrap_or_default()).unwrap();
    format!("{who} at {name} over {alpn}")
}

struct House {
    authority: Authority,
}

impl House {
    fn new() -> Self {
        let authority = Authority::create("house", SystemTime::now(), HOUR).unwrap();
        Self { authority }
    }

    fn issue(&self, common_name: &str, usage: Usage) -> Issued {
        let request = CertificateRequest {
            common_name: common_name.to_owned(),
            organizations: Vec::new(),
            dns_names: vec!["localhost".to_owned()],
            ip_addresses: Vec::new(),
            usage,
            lifetime: HOUR,
        };
        self.authority.issue(&request, SystemTime::now()).unwrap()
    }
}

async fn http2_get<T>(stream: T, path: &str) -> String
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = Request::get(format!("http://localhost{path}"))
        .body(Empty::<Bytes>::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

/// Reads one answer with a Content-Length.
async fn read_answer(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    loop {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await.unwrap();
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            length.is_none_or(|length| body.len() >= length.parse::<usize>().unwrap())
        });
        if whole || count == 0 {
            return text;
        }
    }
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end too: the server may close with unread bytes.
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8(bytes).unwrap()
}

/// Short enough for a test, long enough for a busy machine to do ordinary things within.
const SHORT: Duration = Duration::from_millis(300);
const HOUR: Duration = Duration::from_secs(3600);
