//! Reads: each from one snapshot of the file.

use std::iter::Peekable;
use std::path::PathBuf;
use std::sync::Arc;

use ::redb::{Database, ReadTransaction, ReadableDatabase};

use super::record::{COMPACTED, CURRENT, HISTORY, LOG, LogEntry, META, REVISION, Record};
use crate::error::StoreError;
use crate::key_value::{Event, KeyValue, Revision};
use crate::store::{List, Page, check_readable};
use crate::watch::History;

pub(super) struct Reader {
    database: Arc<Database>,
    path: PathBuf,
}

/// A snapshot and what it knows.
struct View {
    read: ReadTransaction,
    current: Revision,
    compacted: Revision,
}

impl Reader {
    pub(super) fn new(database: Arc<Database>, path: PathBuf) -> Self {
        Self { database, path }
    }

    pub(super) fn get(
        &self,
        key: &str,
        at: Option<Revision>,
    ) -> Result<(Option<KeyValue>, Revision), StoreError> {
        let view = self.view().map_err(|e| self.failed(&e))?;
        let revision = at.unwrap_or(view.current);
        check_readable(revision, view.compacted, view.current)?;
        let found = view.value_at(key, revision).map_err(|e| self.failed(&e))?;
        Ok((found, revision))
    }

    pub(super) fn list(&self, list: &List<'_>) -> Result<Page, StoreError> {
        let view = self.view().map_err(|e| self.failed(&e))?;
        let revision = list.at.unwrap_or(view.current);
        check_readable(revision, view.compacted, view.current)?;
        view.list(list, revision).map_err(|e| self.failed(&e))
    }

    fn view(&self) -> Result<View, ::redb::Error> {
        let read = self.database.begin_read()?;
        let meta = read.open_table(META)?;
        let number = |key: &str| -> Result<Revision, ::redb::Error> {
            let missing = || ::redb::Error::Corrupted(format!("{key} is missing"));
            Ok(Revision(meta.get(key)?.ok_or_else(missing)?.value()))
        };
        let (current, compacted) = (number(REVISION)?, number(COMPACTED)?);
        Ok(View {
            read,
            current,
            compacted,
        })
    }

    fn failed(&self, error: &::redb::Error) -> StoreError {
        StoreError::Failed {
            path: self.path.clone(),
            reason: error.to_string(),
        }
    }
}

impl View {
    fn value_at(&self, key: &str, at: Revision) -> Result<Option<KeyValue>, ::redb::Error> {
        let current = self.read.open_table(CURRENT)?;
        if let Some(bytes) = current.get(key)? {
            let record = parse(bytes.value())?;
            if record.bound <= at {
                return Ok(Some(record.key_value(key, record.bound)));
            }
        }
        if at == self.current {
            return Ok(None);
        }
        let history = self.read.open_table(HISTORY)?;
        let Some(last) = history.range((key, 0)..=(key, at.0))?.next_back() else {
            return Ok(None);
        };
        let (found, bytes) = last?;
        let record = parse(bytes.value())?;
        Ok((record.bound > at).then(|| record.key_value(key, Revision(found.value().1))))
    }

    fn list(&self, list: &List<'_>, at: Revision) -> Result<Page, ::redb::Error> {
        let mut sink = PageSink {
            items: Vec::new(),
            remaining: 0,
            limit: list.limit.unwrap_or(usize::MAX),
        };
        let current = self.read.open_table(CURRENT)?;
        let history = self.read.open_table(HISTORY)?;
        let mut past = PastRange {
            rows: history.range((list.start(), 0)..)?.peekable(),
            prefix: list.prefix,
            at,
            // Nothing that ended is visible now.
            done: at == self.current,
        };
        for row in current.range(list.start()..)? {
            let (key, bytes) = row?;
            let key = key.value();
            if !key.starts_with(list.prefix) {
                break;
            }
            while let Some(earlier) = past.next_before(key)? {
                sink.take(|| earlier);
            }
            let record = parse(bytes.value())?;
            if record.bound <= at {
                sink.take(|| record.key_value(key, record.bound));
            } else if let Some(then) = past.next_at(key)? {
                sink.take(|| then);
            }
        }
        while let Some(rest) = past.next_visible()? {
            sink.take(|| rest);
        }
        Ok(Page {
            items: sink.items,
            revision: at,
            remaining: sink.remaining,
        })
    }

    fn event(&self, revision: Revision, entry: &LogEntry) -> Result<Event, ::redb::Error> {
        let missing = || {
            ::redb::Error::Corrupted(format!("history of {} at {revision} is missing", entry.key))
        };
        let previous = match entry.ended {
            None => None,
            Some(ended) => Some(self.version(&entry.key, ended)?.ok_or_else(missing)?),
        };
        if entry.deleted {
            return Ok(Event::deleted(revision, previous.ok_or_else(missing)?));
        }
        let current = self.version(&entry.key, revision)?.ok_or_else(missing)?;
        Ok(match previous {
            None => Event::created(current),
            Some(previous) => Event::updated(current, previous),
        })
    }

    /// The value that `modified` wrote.
    fn version(&self, key: &str, modified: Revision) -> Result<Option<KeyValue>, ::redb::Error> {
        if let Some(bytes) = self.read.open_table(CURRENT)?.get(key)? {
            let record = parse(bytes.value())?;
            if record.bound == modified {
                return Ok(Some(record.key_value(key, modified)));
            }
        }
        let history = self.read.open_table(HISTORY)?;
        let Some(bytes) = history.get((key, modified.0))? else {
            return Ok(None);
        };
        Ok(Some(parse(bytes.value())?.key_value(key, modified)))
    }
}

impl History for Reader {
    fn events(
        &self,
        prefix: &str,
        after: Revision,
        through: Revision,
        limit: usize,
    ) -> Result<(Vec<Arc<Event>>, Revision), StoreError> {
        let view = self.view().map_err(|e| self.failed(&e))?;
        if after < view.compacted {
            return Err(StoreError::Compacted {
                asked: after,
                compacted: view.compacted,
            });
        }
        if after >= through {
            return Ok((Vec::new(), through));
        }
        let collect = || -> Result<(Vec<Arc<Event>>, Revision), ::redb::Error> {
            let mut events = Vec::new();
            let log = view.read.open_table(LOG)?;
            for row in log.range(after.0 + 1..=through.0)? {
                let (revision, bytes) = row?;
                let revision = Revision(revision.value());
                let entry = LogEntry::parse(bytes.value()).ok_or_else(|| {
                    ::redb::Error::Corrupted(format!("log entry {revision} makes no sense"))
                })?;
                if !entry.key.starts_with(prefix) {
                    continue;
                }
                events.push(Arc::new(view.event(revision, &entry)?));
                if events.len() == limit {
                    return Ok((events, revision));
                }
            }
            Ok((events, through))
        };
        collect().map_err(|e| self.failed(&e))
    }
}

/// Rows of `history`, of which those visible at one revision are wanted, merged into the walk over `current`.
struct PastRange<'a, I: Iterator> {
    rows: Peekable<I>,
    prefix: &'a str,
    at: Revision,
    done: bool,
}

type HistoryRow = Result<
    (
        ::redb::AccessGuard<'static, (&'static str, u64)>,
        ::redb::AccessGuard<'static, &'static [u8]>,
    ),
    ::redb::StorageError,
>;

impl<I: Iterator<Item = HistoryRow>> PastRange<'_, I> {
    /// The next visible record of a key before `key`.
    fn next_before(&mut self, key: &str) -> Result<Option<KeyValue>, ::redb::Error> {
        self.next_where(|found| found < key)
    }

    /// The visible record of `key`.
    fn next_at(&mut self, key: &str) -> Result<Option<KeyValue>, ::redb::Error> {
        self.next_where(|found| found == key)
    }

    fn next_visible(&mut self) -> Result<Option<KeyValue>, ::redb::Error> {
        self.next_where(|_| true)
    }

    fn next_where(
        &mut self,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Option<KeyValue>, ::redb::Error> {
        while !self.done {
            match self.rows.peek() {
                Some(Ok((key, _))) if !key.value().0.starts_with(self.prefix) => self.done = true,
                Some(Ok((key, _))) if !wanted(key.value().0) => return Ok(None),
                None => self.done = true,
                Some(_) => {
                    let Some(row) = self.rows.next() else { break };
                    let (key, bytes) = row?;
                    let (key, modified) = key.value();
                    let record = parse(bytes.value())?;
                    if modified <= self.at.0 && record.bound > self.at {
                        return Ok(Some(record.key_value(key, Revision(modified))));
                    }
                }
            }
        }
        Ok(None)
    }
}

struct PageSink {
    items: Vec<KeyValue>,
    remaining: usize,
    limit: usize,
}

impl PageSink {
    /// Beyond the limit items are counted, not made.
    fn take(&mut self, item: impl FnOnce() -> KeyValue) {
        if self.items.len() < self.limit {
            self.items.push(item());
        } else {
            self.remaining += 1;
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Record<'_>, ::redb::Error> {
    Record::parse(bytes).ok_or_else(|| ::redb::Error::Corrupted("a record is too short".to_owned()))
}
