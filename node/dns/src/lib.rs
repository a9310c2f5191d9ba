//! Cluster DNS as a function (Kubernetes DNS specification, schema 1.1.0).
//!
//! *Owns*: which names exist and what they answer ([`Records`]), told apart: a name without such records, no such name,
//! and a name that is somebody else's.
//! *Does not own*: sockets, the wire format, forwarding, caching.
//! *Entry point*: [`Records::answer`].

mod records;

pub use records::{Answer, Data, Kind, Record, Records, TTL_SECONDS};

#[cfg(test)]
mod tests;
