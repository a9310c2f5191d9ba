//! One transaction of the writer: the operations on open tables.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ::redb::{ReadableTable, Table, WriteTransaction};
use bytes::Bytes;

use super::record::{
    COMPACTED, CURRENT, DEADLINES, HISTORY, LOG, LogEntry, META, REVISION, Record,
};
use super::writer::{Operation, Pending};
use crate::error::StoreError;
use crate::key_value::{Event, KeyValue, Revision};
use crate::store::{Expected, Outcome, Put};

/// The tables of one transaction, and what it did so far.
pub(super) struct Round<'t> {
    current: Table<'t, &'static str, &'static [u8]>,
    history: Table<'t, (&'static str, u64), &'static [u8]>,
    log: Table<'t, u64, &'static [u8]>,
    deadlines: Table<'t, (u64, &'static str), u64>,
    meta: Table<'t, &'static str, u64>,
    pub(super) revision: Revision,
    changed: bool,
    pub(super) events: Vec<Arc<Event>>,
}

impl<'t> Round<'t> {
    pub(super) fn open(
        write: &'t WriteTransaction,
        revision: Revision,
    ) -> Result<Self, ::redb::Error> {
        Ok(Self {
            current: write.open_table(CURRENT)?,
            history: write.open_table(HISTORY)?,
            log: write.open_table(LOG)?,
            deadlines: write.open_table(DEADLINES)?,
            meta: write.open_table(META)?,
            revision,
            changed: false,
            events: Vec::new(),
        })
    }

    /// Writes the revision down and lets go of the tables; true if there is something to commit.
    pub(super) fn close(mut self) -> Result<bool, ::redb::Error> {
        if !self.changed {
            return Ok(false);
        }
        self.meta.insert(REVISION, self.revision.0)?;
        Ok(true)
    }

    pub(super) fn apply(
        &mut self,
        operation: Operation,
        pending: &mut Vec<Pending>,
        compacting: &mut Option<Revision>,
    ) -> Result<(), ::redb::Error> {
        match operation {
            Operation::Put { put, reply } => {
                let done = self.put(put);
                settle(done, Outcome::Conflict(None), |outcome| {
                    pending.push(Pending::Outcome(reply, outcome));
                })
            }
            Operation::Delete {
                key,
                expected,
                reply,
            } => {
                let done = self.delete(&key, expected);
                settle(done, Outcome::Conflict(None), |outcome| {
                    pending.push(Pending::Outcome(reply, outcome));
                })
            }
            Operation::Compact { revision, reply } => {
                let allowed = if revision > self.revision {
                    Err(StoreError::Future {
                        asked: revision,
                        current: self.revision,
                    })
                } else {
                    *compacting = (*compacting).max(Some(revision));
                    // The mark is set at once, the space is freed step by step.
                    self.mark_compacted(revision)?;
                    Ok(())
                };
                pending.push(Pending::Done(reply, allowed));
                Ok(())
            }
        }
    }

    fn put(&mut self, put: Put) -> Result<Outcome, ::redb::Error> {
        let previous = self.find(&put.key)?;
        let as_expected = match put.expected {
            Expected::Absent => previous.is_none(),
            Expected::Modified(revision) => {
                previous.as_ref().is_some_and(|p| p.modified == revision)
            }
        };
        if !as_expected {
            return Ok(Outcome::Conflict(previous));
        }
        let revision = self.advance(&put.key, previous.as_ref(), false)?;
        let current = KeyValue {
            created: previous.as_ref().map_or(revision, |p| p.created),
            modified: revision,
            key: put.key,
            value: put.value,
        };
        let record = Record {
            created: current.created,
            bound: revision,
            value: &current.value,
        };
        self.current
            .insert(current.key.as_str(), record.bytes().as_slice())?;
        if let Some(lifetime) = put.time_to_live {
            let lifetime_ms = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
            let deadline = now_ms().saturating_add(lifetime_ms);
            self.deadlines
                .insert((deadline, current.key.as_str()), revision.0)?;
        }
        self.events.push(Arc::new(match previous {
            None => Event::created(current),
            Some(previous) => Event::updated(current, previous),
        }));
        Ok(Outcome::Written(revision))
    }

    fn delete(&mut self, key: &str, expected: Revision) -> Result<Outcome, ::redb::Error> {
        match self.find(key)? {
            Some(previous) if previous.modified == expected => {
                let revision = self.advance(key, Some(&previous), true)?;
                self.current.remove(key)?;
                self.events
                    .push(Arc::new(Event::deleted(revision, previous)));
                Ok(Outcome::Written(revision))
            }
            other => Ok(Outcome::Conflict(other)),
        }
    }

    /// Takes the next revision for `key`, moving what it replaces to history.
    fn advance(
        &mut self,
        key: &str,
        previous: Option<&KeyValue>,
        deleted: bool,
    ) -> Result<Revision, ::redb::Error> {
        let revision = self.revision.next();
        if let Some(previous) = previous {
            let record = Record {
                created: previous.created,
                bound: revision,
                value: &previous.value,
            };
            self.history
                .insert((key, previous.modified.0), record.bytes().as_slice())?;
        }
        let entry = LogEntry {
            ended: previous.map(|p| p.modified),
            deleted,
            key: key.to_owned(),
        };
        self.log.insert(revision.0, entry.bytes().as_slice())?;
        self.revision = revision;
        self.changed = true;
        Ok(revision)
    }

    fn find(&self, key: &str) -> Result<Option<KeyValue>, ::redb::Error> {
        let Some(bytes) = self.current.get(key)? else {
            return Ok(None);
        };
        let short = || ::redb::Error::Corrupted(format!("the record of {key} is too short"));
        let record = Record::parse(bytes.value()).ok_or_else(short)?;
        Ok(Some(KeyValue {
            key: key.to_owned(),
            value: Bytes::copy_from_slice(record.value),
            created: record.created,
            modified: record.bound,
        }))
    }

    pub(super) fn expire(&mut self, now_ms: u64) -> Result<(), ::redb::Error> {
        let mut due = Vec::new();
        for row in self.deadlines.range(..(now_ms, ""))?.take(MAX_EXPIRED) {
            let (deadline, modified) = row?;
            let (at, key) = deadline.value();
            due.push((at, key.to_owned(), Revision(modified.value())));
        }
        for (at, key, modified) in due {
            // A key written again since has a later deadline of its own; the conflict is the wanted answer.
            self.delete(&key, modified)?;
            self.deadlines.remove((at, key.as_str()))?;
            self.changed = true;
        }
        Ok(())
    }

    /// One step; true when history through `target` is gone.
    pub(super) fn compact(&mut self, target: Revision) -> Result<bool, ::redb::Error> {
        self.mark_compacted(target)?;
        let mut step = Vec::new();
        for row in self.log.range(..=target.0)?.take(COMPACTION_STEP) {
            let (revision, bytes) = row?;
            step.push((revision.value(), LogEntry::parse(bytes.value())));
        }
        for (revision, entry) in &step {
            if let Some(LogEntry {
                ended: Some(ended),
                key,
                ..
            }) = entry
            {
                self.history.remove((key.as_str(), ended.0))?;
            }
            self.log.remove(revision)?;
            self.changed = true;
        }
        Ok(step.len() < COMPACTION_STEP)
    }

    fn mark_compacted(&mut self, target: Revision) -> Result<(), ::redb::Error> {
        let compacted = self.meta.get(COMPACTED)?.map_or(0, |v| v.value());
        if target.0 > compacted {
            self.meta.insert(COMPACTED, target.0)?;
            self.changed = true;
        }
        Ok(())
    }
}

/// Hands on the result, or the stand-in beside the error, so that every operation leaves something to reply to.
fn settle<T>(
    done: Result<T, ::redb::Error>,
    stand_in: T,
    hand_on: impl FnOnce(T),
) -> Result<(), ::redb::Error> {
    match done {
        Ok(value) => {
            hand_on(value);
            Ok(())
        }
        Err(error) => {
            hand_on(stand_in);
            Err(error)
        }
    }
}

pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Log entries forgotten per commit: about a millisecond, so that writers behind it do not wait.
const COMPACTION_STEP: usize = 256;
/// Keys expired per commit; the rest follows `expire_every` later.
const MAX_EXPIRED: usize = 2_000;
