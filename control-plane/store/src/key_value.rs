//! What the store holds and tells.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

/// One counter for the whole store: every write takes the next number. Never 0 and never falls, also across restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Revision {
    /// Of a store that was never written to.
    pub const FIRST: Self = Self(1);

    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// One key as of its last write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    pub key: String,
    pub value: Bytes,
    pub created: Revision,
    pub modified: Revision,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    Created,
    Updated,
    Deleted,
}

/// One write, as watchers see it. Shared by all of them.
pub struct Event {
    pub revision: Revision,
    pub kind: EventKind,
    /// The state written; of a deletion the last state before it.
    pub current: KeyValue,
    /// The state before an update or a deletion.
    pub previous: Option<KeyValue>,
    derived: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Event {
    pub(crate) fn created(current: KeyValue) -> Self {
        Self {
            revision: current.modified,
            kind: EventKind::Created,
            current,
            previous: None,
            derived: OnceLock::new(),
        }
    }

    pub(crate) fn updated(current: KeyValue, previous: KeyValue) -> Self {
        Self {
            revision: current.modified,
            kind: EventKind::Updated,
            current,
            previous: Some(previous),
            derived: OnceLock::new(),
        }
    }

    pub(crate) fn deleted(revision: Revision, previous: KeyValue) -> Self {
        Self {
            revision,
            kind: EventKind::Deleted,
            current: previous.clone(),
            previous: Some(previous),
            derived: OnceLock::new(),
        }
    }

    pub fn key(&self) -> &str {
        &self.current.key
    }

    /// What readers make of the event (decoded objects, encoded frames), made by whoever comes first and shared by the
    /// rest. `T` must be one type throughout the program; another type gets a value of its own.
    pub fn derive<T: Any + Send + Sync>(&self, make: impl Fn(&Self) -> T) -> Arc<T> {
        let shared = self.derived.get_or_init(|| Arc::new(make(self)));
        match Arc::clone(shared).downcast::<T>() {
            Ok(derived) => derived,
            Err(_) => Arc::new(make(self)),
        }
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be Secrets: only names and numbers are shown.
        write!(f, "{:?} {} at {}", self.kind, self.key(), self.revision)
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        (self.revision, self.kind, &self.current, &self.previous)
            == (other.revision, other.kind, &other.current, &other.previous)
    }
}
