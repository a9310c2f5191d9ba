//! The store in one file: redb, with history for watches and old reads until compaction.
//!
//! Every write goes through one thread ([`writer`]) that commits what is waiting together: one fsync, then the events,
//! then the acknowledgements. Reads are snapshots and never wait for it.

mod read;
mod record;
mod round;
mod writer;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use ::redb::{Builder, Database, DatabaseError, StorageError};
use futures::future::{BoxFuture, ready};
use tokio::sync::oneshot;

use crate::error::StoreError;
use crate::key_value::{KeyValue, Revision};
use crate::store::{List, Outcome, Page, Put, Store, check_size};
use crate::watch::{History, Hub, Watch};
use read::Reader;
use writer::{Operation, Writer};

pub struct RedbStore {
    reader: Arc<Reader>,
    hub: Arc<Hub>,
    writes: SyncSender<Operation>,
    writer: Option<JoinHandle<()>>,
}

/// How often the writer's housekeeping happens.
#[derive(Debug, Clone)]
pub struct RedbConfig {
    /// History is kept for one to two of these.
    pub compact_every: Duration,
    /// Expired keys go away at most so long after their time, together.
    pub expire_every: Duration,
    /// Memory for pages of the file, in bytes.
    pub cache_bytes: usize,
}

impl Default for RedbConfig {
    fn default() -> Self {
        Self {
            compact_every: Duration::from_secs(300),
            expire_every: Duration::from_secs(30),
            cache_bytes: 16 << 20,
        }
    }
}

impl RedbStore {
    /// Opens the database at `path`, making it if there is none. Its folder must exist.
    ///
    /// # Errors
    /// Each names the file: in use, corrupt, of another format, unreadable.
    pub fn open(path: &Path, config: RedbConfig) -> Result<Self, StoreError> {
        let mut builder = Builder::new();
        builder.set_cache_size(config.cache_bytes);
        // redb checks what it reads, but asserts in places: a damaged file must end in an error all the same.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let database = builder.create(path).map_err(|e| open_error(path, e))?;
            Self::start(database, path.to_owned(), config)
        }));
        opened.unwrap_or_else(|_| {
            Err(StoreError::Corrupt {
                path: path.to_owned(),
                reason: "its structure makes no sense".to_owned(),
            })
        })
    }

    /// Runs on an opened database, whatever it stands on; `path` is for messages.
    pub(crate) fn start(
        database: Database,
        path: PathBuf,
        config: RedbConfig,
    ) -> Result<Self, StoreError> {
        let database = Arc::new(database);
        let current = record::prepare(&database, &path)?;
        let hub = Arc::new(Hub::new(current));
        let (writes, operations) = sync_channel(MAX_WAITING_WRITES);
        let writer = Writer::new(
            Arc::clone(&database),
            path.clone(),
            Arc::clone(&hub),
            config,
        );
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(&operations))
            .map_err(|e| StoreError::Unreadable {
                path: path.clone(),
                reason: e.to_string(),
            })?;
        Ok(Self {
            reader: Arc::new(Reader::new(database, path)),
            hub,
            writes,
            writer: Some(thread),
        })
    }

    fn submit<'a, T: Send + 'a>(
        &'a self,
        make: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Operation,
    ) -> BoxFuture<'a, Result<T, StoreError>> {
        let (reply, answer) = oneshot::channel();
        match self.writes.try_send(make(reply)) {
            Ok(()) => Box::pin(async move { answer.await.unwrap_or(Err(StoreError::Closed)) }),
            Err(TrySendError::Full(_)) => Box::pin(ready(Err(StoreError::Overloaded))),
            Err(TrySendError::Disconnected(_)) => Box::pin(ready(Err(StoreError::Closed))),
        }
    }
}

impl Store for RedbStore {
    fn get<'a>(
        &'a self,
        key: &'a str,
        at: Option<Revision>,
    ) -> BoxFuture<'a, Result<(Option<KeyValue>, Revision), StoreError>> {
        Box::pin(async move { self.reader.get(key, at) })
    }

    fn list<'a>(&'a self, list: List<'a>) -> BoxFuture<'a, Result<Page, StoreError>> {
        Box::pin(async move { self.reader.list(&list) })
    }

    fn count<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<usize, StoreError>> {
        Box::pin(async move {
            let nothing = List {
                limit: Some(0),
                ..List::all(prefix)
            };
            Ok(self.reader.list(&nothing)?.remaining)
        })
    }

    fn put(&self, put: Put) -> BoxFuture<'_, Result<Outcome, StoreError>> {
        if let Err(error) = check_size(&put) {
            return Box::pin(ready(Err(error)));
        }
        self.submit(|reply| Operation::Put { put, reply })
    }

    fn delete<'a>(
        &'a self,
        key: &'a str,
        expected: Revision,
    ) -> BoxFuture<'a, Result<Outcome, StoreError>> {
        self.submit(|reply| Operation::Delete {
            key: key.to_owned(),
            expected,
            reply,
        })
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        let history: Arc<dyn History> = self.reader.clone();
        self.hub.watch(prefix, after, history)
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), StoreError>> {
        self.submit(|reply| Operation::Compact { revision, reply })
    }

    fn progress(&self) -> Revision {
        self.hub.published()
    }

    fn healthy(&self) -> bool {
        !self.hub.is_closed()
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        // A full queue still ends: the writer sees the channel closed after what was accepted.
        let (unused, _) = sync_channel(0);
        drop(std::mem::replace(&mut self.writes, unused));
        if self
            .writer
            .take()
            .is_some_and(|writer| writer.join().is_err())
        {
            tracing::error!("the store's writer panicked");
        }
    }
}

fn open_error(path: &Path, error: DatabaseError) -> StoreError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path },
        DatabaseError::UpgradeRequired(found) => StoreError::UnknownFormat {
            path,
            found: u64::from(found),
            known: record::FORMAT,
        },
        DatabaseError::Storage(StorageError::Io(e)) if is_damage(&e) => StoreError::Corrupt {
            path,
            reason: e.to_string(),
        },
        DatabaseError::Storage(StorageError::Corrupted(reason)) => {
            StoreError::Corrupt { path, reason }
        }
        other => StoreError::Unreadable {
            path,
            reason: other.to_string(),
        },
    }
}

fn is_damage(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
}

/// Writes accepted and not yet committed. Above the API server's own limit of mutating requests in flight, so it is met
/// only by in-process callers gone wrong; they get [`StoreError::Overloaded`].
const MAX_WAITING_WRITES: usize = 2_048;
