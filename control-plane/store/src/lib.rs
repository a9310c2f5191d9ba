//! The store behind the API server: five operations, watch, compact.
//!
//! Owns revisions, durability, history and the delivery of changes. Does not own what a value means: values are bytes,
//! keys are paths below `/registry/`. Only the API server depends on it. Entry points: [`Store`], and its two
//! implementations [`RedbStore`] (one file, fsync before every acknowledgement) and [`MemoryStore`] (gone with the
//! process; also the naive twin that the suite compares the other one with).

mod error;
mod key_value;
mod memory;
mod redb;
mod store;
mod watch;

#[cfg(test)]
mod tests;

pub use error::StoreError;
pub use key_value::{Event, EventKind, KeyValue, Revision};
pub use memory::MemoryStore;
pub use redb::{RedbConfig, RedbStore};
pub use store::{Expected, List, MAX_VALUE_BYTES, Outcome, Page, Put, Store};
pub use watch::{MAX_QUEUED_EVENTS, Watch, WatchEnd};
