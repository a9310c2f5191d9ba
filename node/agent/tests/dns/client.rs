//! Real questions over real sockets.

use hickory_proto::op::{Edns, Message, Query};
use hickory_proto::rr::{Name, RecordType};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

pub fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

pub fn with_edns(mut message: Message, payload: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload);
    message.set_edns(edns);
    message
}

pub async fn ask(server: SocketAddr, name: &str, kind: RecordType) -> Message {
    let message = question(name, kind);
    let answer = over_udp(server, &message.to_vec().unwrap()).await.unwrap();
    let answer = Message::from_vec(&answer).unwrap();
    assert_eq!(answer.metadata.id, message.metadata.id);
    let (asked, said) = (&message.queries[0], &answer.queries[0]);
    assert!(asked.name.eq_case(&said.name), "{asked} became {said}");
    answer
}

/// `None` when nothing comes.
pub async fn over_udp(server: SocketAddr, packet: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server).await.unwrap();
    socket.send(packet).await.unwrap();
    let mut buffer = vec![0; 65_535];
    let length = timeout(PATIENCE, socket.recv(&mut buffer))
        .await
        .ok()?
        .ok()?;
    buffer.truncate(length);
    Some(buffer)
}

/// All questions at once on one connection; the answers as they come, until the server has no more.
pub async fn over_tcp(server: SocketAddr, messages: &[Message]) -> Vec<Message> {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let mut frames = Vec::new();
    for message in messages {
        let bytes = message.to_vec().unwrap();
        frames.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
        frames.extend(bytes);
    }
    stream.write_all(&frames).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answers = Vec::new();
    while let Ok(length) = timeout(PATIENCE, stream.read_u16()).await.unwrap() {
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await.unwrap();
        answers.push(Message::from_vec(&answer).unwrap());
    }
    answers
}

/// Longer than the server takes to give others up.
const PATIENCE: Duration = Duration::from_secs(8);
