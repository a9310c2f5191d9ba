//! What every test of the gateway stands on: a running gateway, origins on port 0, specs in a few words.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use portcullis_gateway::{
    ApplyReport, Config, Gateway,
    spec::{
        BackendProtocol, BackendSpec, EndpointSpec, EndpointState, Forward, ForwardTimeouts,
        HostMatch, HostRoutes, ListenerProtocol, ListenerSpec, PathMatch, RouteAction, RouteLabels,
        RouteMatch, RouteSpec, Specs, StepSpec, TlsPolicySpec, TlsVersion,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A gateway with the specs it was last given.
pub struct Stage {
    pub gateway: Gateway,
    pub specs: Specs,
}

impl Stage {
    pub fn start(config: Config) -> Self {
        let gateway = Gateway::start(Config {
            workers: 2,
            ..config
        })
        .expect("gateway starts");
        let mut specs = Specs {
            listeners: vec![
                Arc::new(listener("http", ListenerProtocol::Http)),
                Arc::new(listener("https", ListenerProtocol::Https)),
            ],
            tls_policies: vec![Arc::new(TlsPolicySpec {
                name: "default".into(),
                min_version: TlsVersion::Tls12,
                http2: true,
            })],
            ..Specs::default()
        };
        global(&mut specs, |global| global.access_log = false);
        Self { gateway, specs }
    }

    pub fn apply(&self) -> ApplyReport {
        self.gateway.apply(Arc::new(self.specs.clone()))
    }

    pub fn address(&self, listener: &str) -> SocketAddr {
        let bound = self.gateway.bound();
        let found = bound.iter().find(|b| b.name == listener);
        found.expect("listener is bound").address
    }

    pub fn http(&self) -> SocketAddr {
        self.address("http")
    }

    /// Routes `/` of `host` to `origins`.
    pub fn forward(&mut self, host: &str, origins: &[SocketAddr]) {
        self.forward_with(host, origins, |_| {});
    }

    pub fn forward_with(
        &mut self,
        host: &str,
        origins: &[SocketAddr],
        edit: impl FnOnce(&mut Forward),
    ) {
        let name = format!("ns-{host}-80");
        let mut forward = Forward {
            backend: name.clone(),
            affinity: None,
            timeouts: ForwardTimeouts::default(),
            max_request_body_bytes: 1 << 20,
        };
        edit(&mut forward);
        self.backend(&name, origins);
        self.route(host, vec![StepSpec::Forward(forward)]);
    }

    pub fn backend(&mut self, name: &str, origins: &[SocketAddr]) {
        self.specs.backends.retain(|b| b.name != name);
        self.specs.backends.push(Arc::new(backend(name, origins)));
    }

    pub fn route(&mut self, host: &str, steps: Vec<StepSpec>) {
        let host_match = HostMatch::parse(host).expect("host");
        self.specs.hosts.retain(|h| h.host != host_match);
        self.specs.hosts.push(Arc::new(HostRoutes {
            table: "main".into(),
            host: host_match,
            routes: vec![route(host, "/", steps)],
        }));
    }
}

pub fn global(specs: &mut Specs, edit: impl FnOnce(&mut portcullis_gateway::spec::GlobalSpec)) {
    edit(Arc::make_mut(&mut specs.global));
}

pub fn route(id: &str, path: &str, steps: Vec<StepSpec>) -> RouteSpec {
    RouteSpec {
        id: id.into(),
        labels: RouteLabels {
            namespace: "ns".into(),
            ingress: "ing".into(),
            service: "svc".into(),
            service_port: "80".into(),
            path: path.into(),
        },
        matches: RouteMatch {
            path: PathMatch::Prefix(path.into()),
            method: None,
            headers: vec![],
            query: vec![],
        },
        rank: 0,
        action: RouteAction::Serve(steps),
    }
}

pub fn listener(name: &str, protocol: ListenerProtocol) -> ListenerSpec {
    ListenerSpec {
        name: name.into(),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port: 0,
        public_port: None,
        protocol,
        table: "main".into(),
        tls_policy: (protocol == ListenerProtocol::Https).then(|| "default".into()),
    }
}

pub fn backend(name: &str, origins: &[SocketAddr]) -> BackendSpec {
    let endpoints = origins.iter().map(|address| EndpointSpec {
        address: *address,
        state: EndpointState::Ready,
    });
    BackendSpec {
        name: name.into(),
        protocol: BackendProtocol::Http,
        endpoints: endpoints.collect(),
    }
}

/// A server that answers every request with the bytes that a function makes of its head and body.
pub struct Origin {
    pub address: SocketAddr,
    /// Every request as it arrived, head and body.
    pub seen: Arc<Mutex<Vec<String>>>,
    /// Connections accepted.
    pub connections: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Origin {
    /// Answers 200 with `name` as its body and keeps connections open.
    pub async fn named(name: &str) -> Self {
        let response = ok(name);
        Self::answering(move |_| response.clone()).await
    }

    pub async fn answering(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::serving(Arc::new(answer), usize::MAX).await
    }

    /// Closes each connection, without a word, after `limit` answers.
    pub async fn serving(answer: Arc<dyn Fn(&str) -> String + Send + Sync>, limit: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = seen.clone();
        let connections = Arc::new(AtomicU64::new(0));
        let count = connections.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Relaxed);
                tokio::spawn(converse(stream, answer.clone(), record.clone(), limit));
            }
        });
        Self {
            address,
            seen,
            connections,
            accepting,
        }
    }

    pub fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn converse(
    mut stream: TcpStream,
    answer: Arc<dyn Fn(&str) -> String + Send + Sync>,
    seen: Arc<Mutex<Vec<String>>>,
    limit: usize,
) {
    let mut buffer = Vec::new();
    for _ in 0..limit {
        let Some(request) = read_message(&mut stream, &mut buffer).await else {
            return;
        };
        seen.lock().unwrap().push(request.clone());
        let response = answer(&request);
        if response.is_empty() || stream.write_all(response.as_bytes()).await.is_err() {
            return;
        }
    }
}

pub fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nserver: secret\r\n\r\n{body}",
        body.len()
    )
}

/// Reads one message framed by Content-Length, chunks or nothing; what follows stays in `buffer`.
pub async fn read_message(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(length) = message_length(buffer) {
            let message: Vec<u8> = buffer.drain(..length).collect();
            return Some(String::from_utf8_lossy(&message).into_owned());
        }
        let mut chunk = [0; 16 << 10];
        let read = stream.read(&mut chunk).await.ok()?;
        if read == 0 {
            return None;
        }
        buffer.extend_from_slice(&chunk[..read]);
    }
}

fn message_length(buffer: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(buffer).to_lowercase();
    let head = text.find("\r\n\r\n")? + 4;
    if text[..head].contains("transfer-encoding: chunked") {
        return text[head..].find("0\r\n\r\n").map(|end| head + end + 5);
    }
    let length = text[..head]
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.split("\r\n").next()?.parse().ok())
        .unwrap_or(0);
    (buffer.len() >= head + length).then_some(head + length)
}

/// A response, taken apart.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// A client connection that speaks exactly the bytes it is told.
pub struct Client {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connect");
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub async fn send(&mut self, bytes: &str) -> Reply {
        self.write(bytes).await;
        self.read().await.expect("a response")
    }

    pub async fn write(&mut self, bytes: &str) {
        self.stream
            .write_all(bytes.as_bytes())
            .await
            .expect("write");
    }

    /// The next response, or none when the connection is closed.
    pub async fn read(&mut self) -> Option<Reply> {
        let read = read_message(&mut self.stream, &mut self.buffer);
        let text = tokio::time::timeout(PATIENCE, read)
            .await
            .expect("no answer in time")?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        Some(Reply {
            status: head.split(' ').nth(1)?.parse().ok()?,
            head: head.to_owned(),
            body: body.to_owned(),
        })
    }

    pub async fn is_closed(&mut self) -> bool {
        let mut byte = [0; 1];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut byte)).await;
        matches!(read, Ok(Ok(0) | Err(_)))
    }
}

/// One GET on a connection of its own.
pub async fn get(address: SocketAddr, host: &str, path: &str) -> Reply {
    let mut client = Client::connect(address).await;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
    client.send(&request).await
}

/// Polls until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(std::time::Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub const PATIENCE: Duration = Duration::from_secs(10);
