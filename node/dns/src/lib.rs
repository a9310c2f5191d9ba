//! Cluster DNS as a function (Kubernetes DNS specification, schema 1.1.0).
//!
//! *Owns*: which names exist and what they answer ([`Zone`]), told apart: a name without such records, no such name, and
//! a name that is somebody else's; how the zone follows the objects, one Service at a time ([`Index`]); what is remembered
//! of other resolvers' answers, and for how long ([`Cache`]).
//! *Does not own*: sockets, the wire format, forwarding, watches.
//! *Entry points*: [`Index::apply`], then [`Zone::answer`].

mod cache;
mod index;
mod name;
mod range;
mod record;
mod shards;
mod source;
mod unit;
mod zone;

pub use cache::{Cache, Capacity, Kept};
pub use index::{Change, Index};
pub use range::{BadRange, Range};
pub use record::{Answer, Data, Kind, Question, Record, Soa, TTL_SECONDS};
pub use source::{Object, ObjectKind, ObjectRef};
pub use zone::Zone;

#[cfg(test)]
mod tests;
