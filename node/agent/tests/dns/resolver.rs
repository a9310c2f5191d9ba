//! A stand-in for a resolver elsewhere.

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, SOA};
use hickory_proto::rr::{Name, RData, Record};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

pub struct Resolver {
    pub address: SocketAddr,
    udp_questions: Arc<AtomicUsize>,
    tcp_questions: Arc<AtomicUsize>,
}

impl Resolver {
    /// Knows some names, and denies all others.
    pub async fn start() -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(address).await.unwrap();
        let resolver = Resolver {
            address,
            udp_questions: Arc::default(),
            tcp_questions: Arc::default(),
        };
        let (by_udp, by_tcp) = (
            resolver.udp_questions.clone(),
            resolver.tcp_questions.clone(),
        );
        tokio::spawn(async move {
            let mut buffer = vec![0; 4096];
            while let Ok((length, peer)) = udp.recv_from(&mut buffer).await {
                by_udp.fetch_add(1, SeqCst);
                let answer = answer(&buffer[..length], false);
                udp.send_to(&answer.to_vec().unwrap(), peer).await.unwrap();
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                by_tcp.fetch_add(1, SeqCst);
                let length = stream.read_u16().await.unwrap();
                let mut question = vec![0; usize::from(length)];
                stream.read_exact(&mut question).await.unwrap();
                let bytes = answer(&question, true).to_vec().unwrap();
                stream
                    .write_u16(u16::try_from(bytes.len()).unwrap())
                    .await
                    .unwrap();
                stream.write_all(&bytes).await.unwrap();
            }
        });
        resolver
    }

    pub fn udp_questions(&self) -> usize {
        self.udp_questions.load(SeqCst)
    }

    pub fn tcp_questions(&self) -> usize {
        self.tcp_questions.load(SeqCst)
    }
}

fn answer(question: &[u8], whole: bool) -> Message {
    let mut message = Message::from_vec(question).unwrap();
    message.metadata.message_type = MessageType::Response;
    let name = message.queries[0].name().clone();
    let address = |last| RData::A(A::new(192, 0, 2, last));
    match name.to_ascii().to_ascii_lowercase().as_str() {
        "www.example.com." => {
            message.add_answer(Record::from_rdata(name, 300, address(7)));
        }
        "alias.example.com." => {
            let target = Name::from_ascii("www.example.com.").unwrap();
            let alias = RData::CNAME(CNAME(target.clone()));
            message.add_answer(Record::from_rdata(name, 300, alias));
            message.add_answer(Record::from_rdata(target, 300, address(7)));
        }
        "large.example.com." if !whole => message.metadata.truncation = true,
        "large.example.com." => {
            let all = (0..100).map(|last| Record::from_rdata(name.clone(), 300, address(last)));
            message.add_answers(all);
        }
        "broken.example.com." => message.metadata.response_code = ResponseCode::ServFail,
        _ => {
            message.metadata.response_code = ResponseCode::NXDomain;
            let zone = Name::from_ascii("example.com.").unwrap();
            let soa = SOA::new(zone.clone(), zone.clone(), 1, 1, 1, 1, 60);
            message.add_authority(Record::from_rdata(zone, 900, RData::SOA(soa)));
        }
    }
    message
}

/// A resolver that asks whoever it is told to: the way to a loop. Counts what it passes on.
pub async fn relay() -> (
    SocketAddr,
    tokio::sync::watch::Sender<Option<SocketAddr>>,
    Arc<AtomicUsize>,
) {
    let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let address = socket.local_addr().unwrap();
    let (to, target) = tokio::sync::watch::channel(None::<SocketAddr>);
    let count = Arc::new(AtomicUsize::new(0));
    let passed = count.clone();
    tokio::spawn(async move {
        let mut buffer = vec![0; 4096];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
            passed.fetch_add(1, SeqCst);
            let target = target.borrow().unwrap();
            let (socket, packet) = (socket.clone(), buffer[..length].to_vec());
            tokio::spawn(async move {
                if let Some(answer) = crate::client::over_udp(target, &packet).await {
                    let _ = socket.send_to(&answer, peer).await;
                }
            });
        }
    });
    (address, to, count)
}
