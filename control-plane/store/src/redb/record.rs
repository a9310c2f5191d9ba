//! Tables, and how a record is written in them.
//!
//! `current` holds the present; `history` holds what was replaced or deleted, with the revision that ended it; `log` says
//! which key a revision wrote and which revision of the key it ended. Compacting through revision N therefore walks the
//! log up to N and removes exactly one history record per entry.

use std::path::Path;

use ::redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use bytes::Bytes;

use crate::error::StoreError;
use crate::key_value::{KeyValue, Revision};

/// key → created, modified, value
pub(super) const CURRENT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("current");
/// (key, modified) → created, ended, value
pub(super) const HISTORY: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("history");
/// revision → revision of the key that it ended (0: none), whether it deleted, key
pub(super) const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
/// (deadline in ms since 1970, key) → modified
pub(super) const DEADLINES: TableDefinition<'_, (u64, &str), u64> =
    TableDefinition::new("deadlines");
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

pub(super) const REVISION: &str = "revision";
pub(super) const COMPACTED: &str = "compacted";
const FORMAT_KEY: &str = "format";
/// Of the tables above. Raised when they change in a way that older programs would misread.
pub(super) const FORMAT: u64 = 1;

const HEADER: usize = 16;

/// A stored value between its two revisions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    pub created: Revision,
    /// `modified` in `current`, `ended` in `history`.
    pub bound: Revision,
    pub value: &'a [u8],
}

impl<'a> Record<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, value) = bytes.split_at_checked(HEADER)?;
        Some(Self {
            created: Revision(number(header, 0)?),
            bound: Revision(number(header, 8)?),
            value,
        })
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + self.value.len());
        out.extend_from_slice(&self.created.0.to_le_bytes());
        out.extend_from_slice(&self.bound.0.to_le_bytes());
        out.extend_from_slice(self.value);
        out
    }

    pub(super) fn key_value(&self, key: &str, modified: Revision) -> KeyValue {
        KeyValue {
            key: key.to_owned(),
            value: Bytes::copy_from_slice(self.value),
            created: self.created,
            modified,
        }
    }
}

/// One line of the log.
#[derive(Debug, Clone)]
pub(super) struct LogEntry {
    pub ended: Option<Revision>,
    pub deleted: bool,
    pub key: String,
}

impl LogEntry {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (header, key) = bytes.split_at_checked(9)?;
        let ended = number(header, 0)?;
        Some(Self {
            ended: (ended != 0).then_some(Revision(ended)),
            deleted: header[8] != 0,
            key: std::str::from_utf8(key).ok()?.to_owned(),
        })
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(9 + self.key.len());
        out.extend_from_slice(&self.ended.map_or(0, |r| r.0).to_le_bytes());
        out.push(u8::from(self.deleted));
        out.extend_from_slice(self.key.as_bytes());
        out
    }
}

/// Makes the tables of a new database, checks those of an old one. Returns the current revision.
pub(super) fn prepare(database: &Database, path: &Path) -> Result<Revision, StoreError> {
    let corrupt = |reason: &str| StoreError::Corrupt {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let failed = |e: ::redb::Error| StoreError::Corrupt {
        path: path.to_owned(),
        reason: e.to_string(),
    };
    if is_new(database).map_err(failed)? {
        create(database).map_err(failed)?;
    }
    let read = database.begin_read().map_err(|e| failed(e.into()))?;
    let meta = read.open_table(META).map_err(|e| failed(e.into()))?;
    let value = |key: &str| -> Result<u64, StoreError> {
        let found = meta.get(key).map_err(|e| failed(e.into()))?;
        found
            .map(|v| v.value())
            .ok_or_else(|| corrupt("its revision is missing"))
    };
    let found = value(FORMAT_KEY)?;
    if found != FORMAT {
        return Err(StoreError::UnknownFormat {
            path: path.to_owned(),
            found,
            known: FORMAT,
        });
    }
    read.open_table(CURRENT).map_err(|e| failed(e.into()))?;
    read.open_table(HISTORY).map_err(|e| failed(e.into()))?;
    read.open_table(DEADLINES).map_err(|e| failed(e.into()))?;
    let log = read.open_table(LOG).map_err(|e| failed(e.into()))?;
    let revision = value(REVISION)?;
    let last = log.last().map_err(|e| failed(e.into()))?;
    if last.is_some_and(|(logged, _)| logged.value() > revision) {
        return Err(corrupt("its log is ahead of its revision"));
    }
    Ok(Revision(revision))
}

fn is_new(database: &Database) -> Result<bool, ::redb::Error> {
    match database.begin_read()?.open_table(META) {
        Ok(_) => Ok(false),
        Err(TableError::TableDoesNotExist(_)) => Ok(true),
        Err(other) => Err(other.into()),
    }
}

fn create(database: &Database) -> Result<(), ::redb::Error> {
    let write = database.begin_write()?;
    {
        let mut meta = write.open_table(META)?;
        meta.insert(FORMAT_KEY, FORMAT)?;
        meta.insert(REVISION, Revision::FIRST.0)?;
        meta.insert(COMPACTED, Revision::FIRST.0)?;
        write.open_table(CURRENT)?;
        write.open_table(HISTORY)?;
        write.open_table(LOG)?;
        write.open_table(DEADLINES)?;
    }
    write.commit()?;
    Ok(())
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    let eight = bytes.get(at..at + 8)?.try_into().ok()?;
    Some(u64::from_le_bytes(eight))
}
