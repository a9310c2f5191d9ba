//! A proxy that says what it is told, for what a real one of this build never says.

use std::{net::SocketAddr, sync::Arc};

use hyper_util::rt::TokioIo;
use portcullis_wire::{
    PROTOCOL,
    proto::{
        Acknowledgement, FromController, FromProxy, Hello, from_proxy::Message,
        wire_client::WireClient,
    },
};
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, sync::mpsc};
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Endpoint};

pub struct FakeProxy {
    outbound: mpsc::Sender<FromProxy>,
    inbound: Streaming<FromController>,
}

/// It knows a hundred features.
pub async fn start(controller: SocketAddr, tls: Arc<rustls::ClientConfig>) -> FakeProxy {
    let connector = tower::service_fn(move |_| {
        let tls = tls.clone();
        async move {
            let tcp = TcpStream::connect(controller).await?;
            let name = ServerName::try_from("controller.test").expect("a name");
            let stream = TlsConnector::from(tls).connect(name, tcp).await?;
            std::io::Result::Ok(TokioIo::new(stream))
        }
    });
    let endpoint = Endpoint::from_shared(format!("http://{controller}")).expect("an address");
    let channel = endpoint.connect_with_connector(connector).await;
    let (outbound, messages) = mpsc::channel(8);
    let hello = Message::Hello(Hello {
        protocol: PROTOCOL,
        feature: 100,
        proxy: "fake".to_owned(),
    });
    send(&outbound, Some(hello)).await;
    let mut client = WireClient::new(channel.expect("connected"));
    let answer = client.follow(ReceiverStream::new(messages)).await;
    FakeProxy {
        outbound,
        inbound: answer.expect("an answer").into_inner(),
    }
}

impl FakeProxy {
    /// A message whose content is not of this build reads as one without content.
    pub async fn say_something_unknown(&self) {
        send(&self.outbound, None).await;
    }

    pub async fn acknowledge(&self, instance: &str, version: u64) {
        let answer = Message::Acknowledgement(Acknowledgement {
            instance: instance.to_owned(),
            version,
            refused: Vec::new(),
        });
        send(&self.outbound, Some(answer)).await;
    }

    /// Instance and version of the next publication.
    pub async fn publication(&mut self) -> (String, u64) {
        loop {
            let message = self.inbound.message().await.expect("it follows");
            let part = message.and_then(|message| message.part).expect("a part");
            if part.last {
                return (part.instance, part.version);
            }
        }
    }
}

async fn send(outbound: &mpsc::Sender<FromProxy>, message: Option<Message>) {
    outbound.send(FromProxy { message }).await.expect("sent");
}
