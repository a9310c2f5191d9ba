//! One question to one resolver: UDP first, TCP when the answer does not fit.

use super::forward::Asked;
use super::wire;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// The whole answer. The caller limits the time.
pub(crate) async fn exchange(server: SocketAddr, asked: &Asked) -> io::Result<Message> {
    let message = attempt(server, asked, true).await?;
    // A resolver from before EDNS (RFC 6891 section 7).
    if message.metadata.response_code == ResponseCode::FormErr {
        return attempt(server, asked, false).await;
    }
    Ok(message)
}

async fn attempt(server: SocketAddr, asked: &Asked, with_edns: bool) -> io::Result<Message> {
    let question = Outgoing::new(asked, with_edns)?;
    let message = question.over_udp(server).await?;
    if message.metadata.truncation {
        return question.over_tcp(server).await;
    }
    Ok(message)
}

struct Outgoing<'a> {
    asked: &'a Asked,
    id: u16,
    bytes: Vec<u8>,
}

impl<'a> Outgoing<'a> {
    fn new(asked: &'a Asked, with_edns: bool) -> io::Result<Self> {
        let id = rand::random();
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.metadata.checking_disabled = asked.checking_disabled;
        message.add_query(Query::query(asked.name.clone(), asked.kind));
        if with_edns {
            let mut edns = Edns::new();
            edns.set_max_payload(wire::UDP_BYTES);
            edns.set_dnssec_ok(asked.dnssec_ok);
            message.set_edns(edns);
        }
        let bytes = message.to_vec().map_err(io::Error::other)?;
        Ok(Outgoing { asked, id, bytes })
    }

    /// From a port of its own, which a forger would have to guess as well as the id.
    async fn over_udp(&self, server: SocketAddr) -> io::Result<Message> {
        let any: IpAddr = match server.is_ipv6() {
            true => Ipv6Addr::UNSPECIFIED.into(),
            false => Ipv4Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(server).await?;
        socket.send(&self.bytes).await?;
        let mut buffer = vec![0; UDP_BUFFER_BYTES];
        loop {
            let length = socket.recv(&mut buffer).await?;
            if let Some(message) = self.fitting(&buffer[..length])? {
                return Ok(message);
            }
        }
    }

    async fn over_tcp(&self, server: SocketAddr) -> io::Result<Message> {
        let mut stream = TcpStream::connect(server).await?;
        let length = u16::try_from(self.bytes.len()).map_err(io::Error::other)?;
        let frame = [&length.to_be_bytes(), self.bytes.as_slice()].concat();
        stream.write_all(&frame).await?;
        let length = stream.read_u16().await?;
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await?;
        self.fitting(&answer)?
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// `None` for an answer to another question, which is not ours to believe.
    fn fitting(&self, packet: &[u8]) -> io::Result<Option<Message>> {
        if packet.first_chunk() != Some(&self.id.to_be_bytes()) {
            return Ok(None);
        }
        let message =
            wire::decode(packet).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        // A refusal may come without the question.
        let answers = match message.queries.as_slice() {
            [] => message.metadata.response_code != ResponseCode::NoError,
            [query] => query.name == self.asked.name && query.query_type == self.asked.kind,
            _ => false,
        };
        Ok(answers.then_some(message))
    }
}

/// We ask for less; a resolver that does not care is heard all the same.
const UDP_BUFFER_BYTES: usize = 4096;
