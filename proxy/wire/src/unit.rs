//! One named, content-hashed piece of the specs.

use std::fmt;

use portcullis_route::spec::HostMatch;
use prost::bytes::Bytes;
use sha2::{Digest, Sha256};

/// SHA-256 over kind, name, feature and body.
pub type Hash = [u8; 32];

/// Kinds in the order in which specs list them. Numbers are the wire's and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UnitKind {
    Listener,
    HostRoutes,
    Backend,
    Certificate,
    TlsPolicy,
    Global,
    /// A kind of a newer controller.
    Unknown(u32),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnitKey {
    pub kind: UnitKind,
    pub name: String,
}

/// Its body may hold a private key, so `Debug` shows none.
#[derive(Clone, PartialEq, Eq)]
pub struct Unit {
    pub key: UnitKey,
    pub required_feature: u32,
    pub hash: Hash,
    pub body: Bytes,
}

/// A unit that is not served as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Kind and name.
    pub unit: String,
    pub reason: String,
}

impl UnitKind {
    pub fn number(self) -> u32 {
        match self {
            Self::Listener => 1,
            Self::HostRoutes => 2,
            Self::Backend => 3,
            Self::Certificate => 4,
            Self::TlsPolicy => 5,
            Self::Global => 6,
            Self::Unknown(number) => number,
        }
    }

    pub fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Listener,
            2 => Self::HostRoutes,
            3 => Self::Backend,
            4 => Self::Certificate,
            5 => Self::TlsPolicy,
            6 => Self::Global,
            other => Self::Unknown(other),
        }
    }
}

impl UnitKey {
    pub fn new(kind: UnitKind, name: impl Into<String>) -> Self {
        Self {
            kind,
            name: name.into(),
        }
    }

    /// The name of a host's unit says which host it is, so that even an unreadable one can be denied.
    pub(crate) fn host(table: &str, host: &HostMatch) -> Self {
        let host = match host {
            HostMatch::Any => String::new(),
            other => other.to_string(),
        };
        Self::new(UnitKind::HostRoutes, format!("{table}/{host}"))
    }

    pub(crate) fn table_and_host(&self) -> Option<(&str, HostMatch)> {
        let (table, host) = self.name.rsplit_once('/')?;
        Some((table, HostMatch::parse(host)?))
    }
}

impl Unit {
    pub(crate) fn new(key: UnitKey, required_feature: u32, body: Bytes) -> Self {
        let hash = hash(&key, required_feature, &body);
        Self {
            key,
            required_feature,
            hash,
            body,
        }
    }

    /// Whether the content is what its sender hashed.
    pub(crate) fn is_whole(&self) -> bool {
        self.hash == hash(&self.key, self.required_feature, &self.body)
    }
}

impl Refusal {
    pub(crate) fn new(key: &UnitKey, reason: impl Into<String>) -> Self {
        Self {
            unit: key.to_string(),
            reason: reason.into(),
        }
    }
}

impl fmt::Display for UnitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.kind, self.name)
    }
}

impl fmt::Debug for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.body.len();
        write!(f, "Unit({}, {length} bytes)", self.key)
    }
}

/// Every part is preceded by its length, so that no two different units feed the same bytes.
fn hash(key: &UnitKey, required_feature: u32, body: &[u8]) -> Hash {
    let mut digest = Sha256::new();
    digest.update(key.kind.number().to_be_bytes());
    digest.update((key.name.len() as u64).to_be_bytes());
    digest.update(&key.name);
    digest.update(required_feature.to_be_bytes());
    digest.update((body.len() as u64).to_be_bytes());
    digest.update(body);
    digest.finalize().into()
}
