//! Questions, and what they are answered with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a question asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    A,
    Aaaa,
    Srv,
    Ptr,
    Txt,
    Cname,
    Soa,
    Ns,
    /// Anything else: no name of ours has such records, but the name may exist.
    Other,
}

/// One question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question<'a> {
    /// In any case, with or without the final dot. A dot inside a label is escaped (`\.`), so it divides nothing.
    pub name: &'a str,
    pub kind: Kind,
    /// Any number: which of several addresses comes first, so that clients that take the first spread over all.
    pub rotation: usize,
    /// More records than this would not fit into the response: they are not even looked up.
    pub most_records: usize,
}

/// One record's content. Names are lower case, absolute, without the final dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Data {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    /// RFC 2782.
    Srv {
        priority: u16,
        weight: u16,
        port: u16,
        target: String,
    },
    Ptr(String),
    Txt(String),
    Cname(String),
    Ns(String),
    Soa(Soa),
}

impl Data {
    pub(crate) fn address(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Data::A(ip),
            IpAddr::V6(ip) => Data::Aaaa(ip),
        }
    }

    /// How long others may keep it.
    pub fn ttl_seconds(&self) -> u32 {
        match self {
            Data::Txt(_) => SCHEMA_TTL_SECONDS,
            _ => TTL_SECONDS,
        }
    }
}

/// A record with its owner, for the sections in which the owner is not the question's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    pub name: String,
    pub data: Data,
}

/// The start of authority of the zone a name is in. A negative answer is kept for as long as it says (RFC 2308).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Soa {
    /// The zone's own name.
    pub apex: String,
    pub primary: String,
    pub mailbox: String,
    pub serial: u32,
}

impl Soa {
    pub const REFRESH_SECONDS: i32 = 7200;
    pub const RETRY_SECONDS: i32 = 1800;
    pub const EXPIRE_SECONDS: i32 = 86_400;
    pub const MINIMUM_SECONDS: u32 = TTL_SECONDS;
}

/// The answer to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// NOERROR with records of the name asked for; `additional` saves the client of an SRV answer its next question.
    Found {
        data: Vec<Data>,
        additional: Vec<Record>,
    },
    /// The name is another name for this one, where the question has to be asked again.
    Alias(String),
    /// NOERROR without records: the name exists, with records of other kinds only (RFC 2308 section 2.2).
    NoData(Soa),
    /// NXDOMAIN: the name is in our zone and does not exist.
    NoName(Soa),
    /// Not in our zone: for a resolver further up.
    NotOurs,
}

impl Answer {
    pub(crate) fn of(data: Vec<Data>) -> Self {
        Answer::Found {
            data,
            additional: Vec::new(),
        }
    }
}

/// Short, since endpoints come and go.
pub const TTL_SECONDS: u32 = 5;
/// The version of the schema is another one after an upgrade at the earliest.
const SCHEMA_TTL_SECONDS: u32 = 28_800;
