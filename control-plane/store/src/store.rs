//! The contract: what Kubernetes needs of a store (`etcd/client/v3/kubernetes/interface.go`), no more.

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::error::StoreError;
use crate::key_value::{KeyValue, Revision};
use crate::watch::Watch;

/// Bytes of one value. Upstream's limit (etcd's request size): larger objects would stall every watcher of their kind.
pub const MAX_VALUE_BYTES: usize = 1_536 * 1024;

/// A linearizable key-value store with one revision counter, history and watches.
///
/// A write that was acknowledged survives a crash. A watcher sees every write below its prefix once, in order of
/// revision, or is told that it cannot.
pub trait Store: Send + Sync {
    /// The value of `key`, now or as of a revision, beside the revision it was read at.
    fn get<'a>(
        &'a self,
        key: &'a str,
        at: Option<Revision>,
    ) -> BoxFuture<'a, Result<(Option<KeyValue>, Revision), StoreError>>;

    /// Keys with a prefix, in order.
    fn list<'a>(&'a self, list: List<'a>) -> BoxFuture<'a, Result<Page, StoreError>>;

    /// Number of keys with a prefix.
    fn count<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<usize, StoreError>>;

    /// Writes if the key is as expected.
    fn put(&self, put: Put) -> BoxFuture<'_, Result<Outcome, StoreError>>;

    /// Deletes if the key was last written at `expected`.
    fn delete<'a>(
        &'a self,
        key: &'a str,
        expected: Revision,
    ) -> BoxFuture<'a, Result<Outcome, StoreError>>;

    /// Every write below `prefix` after revision `after`.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when that history is gone.
    fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError>;

    /// Forgets history before `revision`: reads and watches from earlier ones fail from now on.
    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The revision up to which every watch has its events queued.
    fn progress(&self) -> Revision;

    /// False once nothing more can be written, for the rest of the store's life: its disk failed, or its writer is gone.
    fn healthy(&self) -> bool;
}

/// What a write relies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    Absent,
    Modified(Revision),
}

#[derive(Debug, Clone)]
pub struct Put {
    pub key: String,
    pub value: Bytes,
    pub expected: Expected,
    /// The key goes away by itself so long after this write.
    pub time_to_live: Option<Duration>,
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Written(Revision),
    /// The key was not as expected. Carries what is there, which saves the caller a read.
    Conflict(Option<KeyValue>),
}

#[derive(Debug, Clone, Copy)]
pub struct List<'a> {
    pub prefix: &'a str,
    /// `None`: now.
    pub at: Option<Revision>,
    /// First key wanted; the whole prefix when empty.
    pub from: &'a str,
    /// `None`: all.
    pub limit: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub items: Vec<KeyValue>,
    /// The revision of this view.
    pub revision: Revision,
    /// How many keys with the prefix follow the last item.
    pub remaining: usize,
}

impl<'a> List<'a> {
    /// Everything below a prefix as of now.
    pub fn all(prefix: &'a str) -> Self {
        Self {
            prefix,
            at: None,
            from: "",
            limit: None,
        }
    }

    pub(crate) fn start(&self) -> &'a str {
        self.from.max(self.prefix)
    }
}

pub(crate) fn check_size(put: &Put) -> Result<(), StoreError> {
    if put.value.len() <= MAX_VALUE_BYTES {
        return Ok(());
    }
    Err(StoreError::TooLarge {
        key: put.key.clone(),
        bytes: put.value.len(),
        limit: MAX_VALUE_BYTES,
    })
}

/// Whether a read at `asked` can be answered by a store that knows `compacted..=current`.
pub(crate) fn check_readable(
    asked: Revision,
    compacted: Revision,
    current: Revision,
) -> Result<(), StoreError> {
    if asked < compacted {
        return Err(StoreError::Compacted { asked, compacted });
    }
    if asked > current {
        return Err(StoreError::Future { asked, current });
    }
    Ok(())
}
