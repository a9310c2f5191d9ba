//! A controller that sends what it is told, for what a real one of this build never sends.

use std::{net::SocketAddr, pin::Pin, sync::Arc};

use futures::Stream;
use portcullis_route::spec::{
    FixedResponse, HostMatch, HostRoutes, PathMatch, RouteAction, RouteLabels, RouteMatch,
    RouteSpec, Specs, StepSpec,
};
use portcullis_wire::{
    Delta, Encoder, parts,
    proto::{
        Acknowledgement, FromController, FromProxy, Part,
        from_proxy::Message,
        wire_server::{Wire, WireServer},
    },
};
use sha2::{Digest, Sha256};
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc},
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, transport::Server};

pub struct FakeController {
    pub address: SocketAddr,
    pub answers: mpsc::Receiver<Acknowledgement>,
    outbound: mpsc::Sender<Result<FromController, Status>>,
}

impl FakeController {
    /// A message whose content is not of this build reads as one without content.
    pub async fn say_something_unknown(&self) {
        let message = FromController { part: None };
        self.outbound.send(Ok(message)).await.expect("sent");
    }

    pub async fn send(&self, version: u64, parts: Vec<Part>) {
        for mut part in parts {
            part.version = version;
            let message = FromController { part: Some(part) };
            self.outbound.send(Ok(message)).await.expect("sent");
        }
    }
}

pub async fn start(tls: Arc<rustls::ServerConfig>) -> FakeController {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (outbound, parts) = mpsc::channel(64);
    let (answer, answers) = mpsc::channel(64);
    let (connection, connections) = mpsc::channel(1);
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(tls);
        while let Ok((tcp, _)) = listener.accept().await {
            if let Ok(tls) = acceptor.accept(tcp).await {
                let _ = connection.send(std::io::Result::Ok(tls)).await;
            }
        }
    });
    let service = Service {
        parts: Mutex::new(Some(parts)),
        answer,
    };
    let server = Server::builder().add_service(WireServer::new(service));
    tokio::spawn(server.serve_with_incoming(ReceiverStream::new(connections)));
    FakeController {
        address,
        answers,
        outbound,
    }
}

struct Service {
    parts: Mutex<Option<mpsc::Receiver<Result<FromController, Status>>>>,
    answer: mpsc::Sender<Acknowledgement>,
}

#[tonic::async_trait]
impl Wire for Service {
    type FollowStream = Pin<Box<dyn Stream<Item = Result<FromController, Status>> + Send>>;

    async fn follow(
        &self,
        request: Request<Streaming<FromProxy>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let parts = self.parts.lock().await.take();
        let parts = parts.ok_or_else(|| Status::unavailable("only once"))?;
        let mut inbound = request.into_inner();
        let answer = self.answer.clone();
        tokio::spawn(async move {
            while let Ok(Some(message)) = inbound.message().await {
                if let Some(Message::Acknowledgement(message)) = message.message {
                    let _ = answer.send(message).await;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(parts))))
    }
}

/// Two hosts; the route of one needs a feature that no proxy knows yet.
pub fn set_with_one_unknown_feature() -> Vec<Part> {
    let hosts = ["old.example.com", "new.example.com"];
    let specs = Specs {
        hosts: hosts.iter().map(|name| Arc::new(host(name))).collect(),
        ..Specs::default()
    };
    let (set, _) = Encoder::default().encode(&specs);
    let mut parts = parts("fake", 1, None, &Delta::full(&set));
    for unit in parts.iter_mut().flat_map(|part| &mut part.put) {
        if unit.name.ends_with("new.example.com") {
            let body = String::from_utf8(unit.body.to_vec()).expect("JSON");
            let body = body.replace("\"required_feature\":1", "\"required_feature\":9");
            let mut digest = Sha256::new();
            digest.update(unit.kind.to_be_bytes());
            digest.update((unit.name.len() as u64).to_be_bytes());
            digest.update(&unit.name);
            digest.update(unit.required_feature.to_be_bytes());
            digest.update((body.len() as u64).to_be_bytes());
            digest.update(&body);
            unit.hash = digest.finalize().to_vec().into();
            unit.body = body.into();
        }
    }
    parts
}

fn host(name: &str) -> HostRoutes {
    let step = StepSpec::Respond(FixedResponse {
        status: 200,
        content_type: "text/plain".to_owned(),
        body: name.to_owned(),
    });
    HostRoutes {
        table: "ingress".to_owned(),
        host: HostMatch::parse(name).expect("a host"),
        routes: vec![RouteSpec {
            id: name.to_owned(),
            labels: RouteLabels::default(),
            matches: RouteMatch {
                path: PathMatch::Prefix("/".to_owned()),
                method: None,
                headers: Vec::new(),
                query: Vec::new(),
            },
            rank: 0,
            action: RouteAction::Serve(vec![step]),
        }],
    }
}
