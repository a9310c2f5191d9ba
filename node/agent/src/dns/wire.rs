//! The wire: what a peer may send, and how an answer fits into what the peer takes.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use portcullis_dns::{Data, Kind, Soa};

/// How a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// A question that can be answered.
#[derive(Debug)]
pub(crate) struct Request {
    pub id: u16,
    pub query: Query,
    pub recursion_desired: bool,
    pub checking_disabled: bool,
    /// `None` for a peer without EDNS.
    pub edns: Option<ClientEdns>,
    /// Bytes that the answer may have.
    pub limit: usize,
}

/// What a peer says of itself (RFC 6891).
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientEdns {
    pub dnssec_ok: bool,
}

/// What became of a packet.
#[derive(Debug)]
pub(crate) enum Received {
    Request(Request),
    /// Answered without looking further.
    Refused(Vec<u8>, ResponseCode),
    /// No question at all: nobody is answered, lest two servers answer each other for ever.
    Nothing,
}

/// An answer before it has a size.
#[derive(Debug)]
pub(crate) struct Response {
    pub code: ResponseCode,
    /// From our own zone.
    pub authoritative: bool,
    pub authentic: bool,
    pub answers: Vec<Record>,
    pub authorities: Vec<Record>,
    pub additionals: Vec<Record>,
}

impl Request {
    /// More records than this cannot fit: the smallest one repeats a name in two bytes and holds an IPv4 address.
    pub(crate) fn most_records(&self) -> usize {
        self.limit / SMALLEST_RECORD_BYTES + 1
    }

    pub(crate) fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }
}

impl Response {
    pub(crate) fn of(code: ResponseCode) -> Self {
        Response {
            code,
            authoritative: false,
            authentic: false,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
        }
    }

    /// The bytes, cut to what the peer takes: first without what nobody asked for, then with as many answers as fit and
    /// the mark that there are more (RFC 2181 section 9), for which a client asks again over TCP.
    pub(crate) fn write(self, request: &Request) -> Vec<u8> {
        let mut message = Message::response(request.id, OpCode::Query);
        message.metadata.authoritative = self.authoritative;
        message.metadata.authentic_data = self.authentic;
        message.metadata.recursion_desired = request.recursion_desired;
        message.metadata.checking_disabled = request.checking_disabled;
        message.metadata.recursion_available = true;
        message.metadata.response_code = self.code;
        message.add_query(request.query.clone());
        message.edns = request.edns.map(server_edns);
        message.answers = self.answers;
        message.authorities = self.authorities;
        message.additionals = self.additionals;
        if let Some(bytes) = fitting(&message, request.limit) {
            return bytes;
        }
        message.additionals.clear();
        if let Some(bytes) = fitting(&message, request.limit) {
            return bytes;
        }
        message.authorities.clear();
        message.metadata.truncation = true;
        let answers = std::mem::take(&mut message.answers);
        let (mut least, mut most) = (0, answers.len());
        while least < most {
            let middle = (least + most).div_ceil(2);
            message.answers = answers[..middle].to_vec();
            match fitting(&message, request.limit) {
                Some(_) => least = middle,
                None => most = middle - 1,
            }
        }
        message.answers = answers[..least].to_vec();
        fitting(&message, request.limit)
            .unwrap_or_else(|| refusal(request.id, ResponseCode::ServFail))
    }
}

/// Reads a packet from a peer.
pub(crate) fn read(packet: &[u8], transport: Transport) -> Received {
    let Some(header) = packet.first_chunk::<HEADER_BYTES>() else {
        return Received::Nothing;
    };
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let id = word(0);
    if header[2] & RESPONSE_BIT != 0 {
        return Received::Nothing;
    }
    let refuse = |code| Received::Refused(refusal(id, code), code);
    if header[2] & OPCODE_BITS != 0 {
        return refuse(ResponseCode::NotImp);
    }
    // One question and nothing else but EDNS and a signature: whatever claims more is not decoded.
    let (questions, answers, authorities, additionals) = (word(4), word(6), word(8), word(10));
    if questions != 1 || answers != 0 || authorities != 0 || additionals > MOST_ADDITIONALS {
        return refuse(ResponseCode::FormErr);
    }
    let Ok(mut message) = Message::from_vec(packet) else {
        return refuse(ResponseCode::FormErr);
    };
    let Some(query) = message.queries.pop() else {
        return refuse(ResponseCode::FormErr);
    };
    let edns = message.edns.as_ref();
    let size = match (transport, edns) {
        (Transport::Tcp, _) => u16::MAX,
        (Transport::Udp, None) => PLAIN_UDP_BYTES,
        (Transport::Udp, Some(edns)) => edns.max_payload().clamp(PLAIN_UDP_BYTES, UDP_BYTES),
    };
    let request = Request {
        id,
        query,
        recursion_desired: message.metadata.recursion_desired,
        checking_disabled: message.metadata.checking_disabled,
        edns: edns.map(|edns| ClientEdns {
            dnssec_ok: edns.flags().dnssec_ok,
        }),
        limit: usize::from(size),
    };
    let refused = match (request.query.query_class(), request.query.query_type()) {
        _ if edns.is_some_and(|edns| edns.version() > 0) => Some(ResponseCode::BADVERS),
        (DNSClass::IN, RecordType::AXFR | RecordType::IXFR) => Some(ResponseCode::Refused),
        (DNSClass::IN, _) => None,
        _ => Some(ResponseCode::Refused),
    };
    match refused {
        None => Received::Request(request),
        Some(code) => Received::Refused(Response::of(code).write(&request), code),
    }
}

/// Decodes somebody's answer. Counts that its bytes cannot hold would only reserve memory.
pub(crate) fn decode(packet: &[u8]) -> Option<Message> {
    let header = packet.first_chunk::<HEADER_BYTES>()?;
    let counts = header[4..].chunks_exact(2);
    let counts = counts.map(|count| usize::from(u16::from_be_bytes([count[0], count[1]])));
    if counts.sum::<usize>() * SMALLEST_ENTRY_BYTES > packet.len() {
        return None;
    }
    let message = Message::from_vec(packet).ok()?;
    (message.metadata.message_type == MessageType::Response).then_some(message)
}

pub(crate) fn kind(kind: RecordType) -> Kind {
    match kind {
        RecordType::A => Kind::A,
        RecordType::AAAA => Kind::Aaaa,
        RecordType::SRV => Kind::Srv,
        RecordType::PTR => Kind::Ptr,
        RecordType::TXT => Kind::Txt,
        RecordType::CNAME => Kind::Cname,
        RecordType::SOA => Kind::Soa,
        RecordType::NS => Kind::Ns,
        _ => Kind::Other,
    }
}

/// A record of ours; `None` when a name in it is longer than names can be.
pub(crate) fn record(owner: Name, data: Data) -> Option<Record> {
    let ttl = data.ttl_seconds();
    let data = match data {
        Data::A(ip) => RData::A(A(ip)),
        Data::Aaaa(ip) => RData::AAAA(AAAA(ip)),
        Data::Srv {
            priority,
            weight,
            port,
            target,
        } => RData::SRV(SRV::new(priority, weight, port, absolute(&target)?)),
        Data::Ptr(name) => RData::PTR(PTR(absolute(&name)?)),
        Data::Txt(text) => RData::TXT(TXT::new(vec![text])),
        Data::Cname(name) => RData::CNAME(CNAME(absolute(&name)?)),
        Data::Ns(name) => RData::NS(NS(absolute(&name)?)),
        Data::Soa(soa) => RData::SOA(SOA::new(
            absolute(&soa.primary)?,
            absolute(&soa.mailbox)?,
            soa.serial,
            Soa::REFRESH_SECONDS,
            Soa::RETRY_SECONDS,
            Soa::EXPIRE_SECONDS,
            Soa::MINIMUM_SECONDS,
        )),
    };
    Some(Record::from_rdata(owner, ttl, data))
}

/// A name from its canonical spelling.
pub(crate) fn absolute(name: &str) -> Option<Name> {
    let mut name = Name::from_ascii(name).ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn fitting(message: &Message, limit: usize) -> Option<Vec<u8>> {
    let bytes = message.to_vec().ok()?;
    (bytes.len() <= limit).then_some(bytes)
}

fn refusal(id: u16, code: ResponseCode) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes[..2].copy_from_slice(&id.to_be_bytes());
    bytes[2] = RESPONSE_BIT;
    bytes[3] = code.low();
    bytes
}

fn server_edns(client: ClientEdns) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_BYTES);
    edns.set_dnssec_ok(client.dnssec_ok);
    edns
}

/// Larger datagrams are cut into pieces on some paths, and lost (DNS flag day 2020).
pub(crate) const UDP_BYTES: u16 = 1232;
/// For a peer without EDNS (RFC 1035 section 4.2.1).
const PLAIN_UDP_BYTES: u16 = 512;
/// A name of 255 bytes and the largest sensible set of EDNS options; beyond it a datagram is cut, and then malformed.
pub(crate) const LONGEST_QUERY_BYTES: usize = 4096;
const HEADER_BYTES: usize = 12;
const SMALLEST_RECORD_BYTES: usize = 16;
/// A question about the root: one byte of name, two of type, two of class.
const SMALLEST_ENTRY_BYTES: usize = 5;
/// OPT and TSIG.
const MOST_ADDITIONALS: u16 = 2;
const RESPONSE_BIT: u8 = 0b1000_0000;
const OPCODE_BITS: u8 = 0b0111_1000;
