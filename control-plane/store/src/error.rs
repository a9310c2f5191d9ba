//! Why the store could not do what it was asked.

use std::path::PathBuf;

use crate::key_value::Revision;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// History before `compacted` is gone; list again.
    #[error("revision {asked} is compacted, history starts at {compacted}")]
    Compacted {
        asked: Revision,
        compacted: Revision,
    },
    /// The caller knows a revision that this store has not reached.
    #[error("revision {asked} is in the future, the store is at {current}")]
    Future { asked: Revision, current: Revision },
    #[error("value of {key} has {bytes} bytes, at most {limit} are stored")]
    TooLarge {
        key: String,
        bytes: usize,
        limit: usize,
    },
    /// More writes are waiting than the store takes on; try again later.
    #[error("the store has too many writes waiting")]
    Overloaded,
    #[error("database {path} is in use by another process", path = path.display())]
    InUse { path: PathBuf },
    #[error("database {path} is corrupt or not a database: {reason}", path = path.display())]
    Corrupt { path: PathBuf, reason: String },
    #[error("database {path} has format {found}, this program reads {known}", path = path.display())]
    UnknownFormat {
        path: PathBuf,
        found: u64,
        known: u64,
    },
    #[error("database {path} cannot be opened: {reason}", path = path.display())]
    Unreadable { path: PathBuf, reason: String },
    /// The disk refused; nothing of the write is visible. Reads may go on.
    #[error("database {path} failed: {reason}", path = path.display())]
    Failed { path: PathBuf, reason: String },
    #[error("the store is closed")]
    Closed,
}
