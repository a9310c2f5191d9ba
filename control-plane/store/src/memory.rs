//! The naive twin: every version of every key in one map under one lock.
//!
//! Used where data need not outlive the process, and as the measure for the store on disk. Expired keys are removed at
//! the next operation, whichever it is: there is no thread behind it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::{BoxFuture, ready};

use crate::error::StoreError;
use crate::key_value::{Event, KeyValue, Revision};
use crate::store::{Expected, List, Outcome, Page, Put, Store, check_readable, check_size};
use crate::watch::{History, Hub, Watch};

pub struct MemoryStore {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    hub: Hub,
}

struct State {
    revision: Revision,
    compacted: Revision,
    versions: BTreeMap<String, Vec<Version>>,
    events: Vec<Arc<Event>>,
    deadlines: Vec<(Instant, String, Revision)>,
}

/// A key from one revision on; `value` is `None` where it was deleted.
struct Version {
    created: Revision,
    modified: Revision,
    value: Option<Bytes>,
}

impl MemoryStore {
    pub fn new() -> Self {
        Self {
            inner: Arc::new(Inner {
                state: Mutex::new(State {
                    revision: Revision::FIRST,
                    compacted: Revision::FIRST,
                    versions: BTreeMap::new(),
                    events: Vec::new(),
                    deadlines: Vec::new(),
                }),
                hub: Hub::new(Revision::FIRST),
            }),
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for MemoryStore {
    fn get<'a>(
        &'a self,
        key: &'a str,
        at: Option<Revision>,
    ) -> BoxFuture<'a, Result<(Option<KeyValue>, Revision), StoreError>> {
        let state = self.inner.lock();
        let revision = at.unwrap_or(state.revision);
        let found = check_readable(revision, state.compacted, state.revision)
            .map(|()| (state.value_at(key, revision), revision));
        Box::pin(ready(found))
    }

    fn list<'a>(&'a self, list: List<'a>) -> BoxFuture<'a, Result<Page, StoreError>> {
        Box::pin(ready(self.inner.lock().list(&list)))
    }

    fn count<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<usize, StoreError>> {
        let page = self.inner.lock().list(&List::all(prefix));
        Box::pin(ready(page.map(|page| page.items.len())))
    }

    fn put(&self, put: Put) -> BoxFuture<'_, Result<Outcome, StoreError>> {
        let outcome = check_size(&put).map(|()| {
            let mut state = self.inner.lock();
            let outcome = state.put(put);
            self.inner.publish(&state);
            outcome
        });
        Box::pin(ready(outcome))
    }

    fn delete<'a>(
        &'a self,
        key: &'a str,
        expected: Revision,
    ) -> BoxFuture<'a, Result<Outcome, StoreError>> {
        let mut state = self.inner.lock();
        let outcome = state.delete(key, expected);
        self.inner.publish(&state);
        Box::pin(ready(Ok(outcome)))
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        drop(self.inner.lock());
        let history: Arc<dyn History> = self.inner.clone();
        self.inner.hub.watch(prefix, after, history)
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(ready(self.inner.lock().compact(revision)))
    }

    fn progress(&self) -> Revision {
        self.inner.hub.published()
    }

    fn healthy(&self) -> bool {
        true
    }
}

impl Inner {
    /// The state, after removing what expired.
    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.expire(Instant::now()) {
            self.publish(&state);
        }
        state
    }

    /// Under the lock of the state, so that watchers get events in order.
    fn publish(&self, state: &State) {
        let published = self.hub.published();
        let fresh = state.events.iter().filter(|e| e.revision > published);
        self.hub.publish(fresh.cloned().collect(), state.revision);
    }
}

impl State {
    fn value_at(&self, key: &str, at: Revision) -> Option<KeyValue> {
        let versions = self.versions.get(key)?;
        let version = versions.iter().rev().find(|v| v.modified <= at)?;
        Some(KeyValue {
            key: key.to_owned(),
            value: version.value.clone()?,
            created: version.created,
            modified: version.modified,
        })
    }

    fn list(&self, list: &List<'_>) -> Result<Page, StoreError> {
        let revision = list.at.unwrap_or(self.revision);
        check_readable(revision, self.compacted, self.revision)?;
        let mut items: Vec<KeyValue> = self
            .versions
            .keys()
            .filter(|key| key.starts_with(list.prefix) && key.as_str() >= list.start())
            .filter_map(|key| self.value_at(key, revision))
            .collect();
        let kept = list.limit.unwrap_or(items.len()).min(items.len());
        let remaining = items.split_off(kept).len();
        Ok(Page {
            items,
            revision,
            remaining,
        })
    }

    fn put(&mut self, put: Put) -> Outcome {
        let previous = self.value_at(&put.key, self.revision);
        let as_expected = match put.expected {
            Expected::Absent => previous.is_none(),
            Expected::Modified(revision) => {
                previous.as_ref().is_some_and(|p| p.modified == revision)
            }
        };
        if !as_expected {
            return Outcome::Conflict(previous);
        }
        self.revision = self.revision.next();
        let current = KeyValue {
            key: put.key.clone(),
            value: put.value.clone(),
            created: previous.as_ref().map_or(self.revision, |p| p.created),
            modified: self.revision,
        };
        self.versions
            .entry(put.key.clone())
            .or_default()
            .push(Version {
                created: current.created,
                modified: current.modified,
                value: Some(put.value),
            });
        if let Some(lifetime) = put.time_to_live {
            let deadline = Instant::now() + lifetime.min(MAX_LIFETIME);
            self.deadlines.push((deadline, put.key, self.revision));
        }
        self.events.push(Arc::new(match previous {
            None => Event::created(current),
            Some(previous) => Event::updated(current, previous),
        }));
        Outcome::Written(self.revision)
    }

    fn delete(&mut self, key: &str, expected: Revision) -> Outcome {
        match self.value_at(key, self.revision) {
            Some(previous) if previous.modified == expected => {
                self.revision = self.revision.next();
                self.versions
                    .entry(key.to_owned())
                    .or_default()
                    .push(Version {
                        created: previous.created,
                        modified: self.revision,
                        value: None,
                    });
                self.events
                    .push(Arc::new(Event::deleted(self.revision, previous)));
                Outcome::Written(self.revision)
            }
            other => Outcome::Conflict(other),
        }
    }

    fn expire(&mut self, now: Instant) -> bool {
        let (due, later) = std::mem::take(&mut self.deadlines)
            .into_iter()
            .partition::<Vec<_>, _>(|(deadline, _, _)| *deadline <= now);
        self.deadlines = later;
        let before = self.revision;
        for (_, key, modified) in due {
            self.delete(&key, modified);
        }
        self.revision != before
    }

    fn compact(&mut self, revision: Revision) -> Result<(), StoreError> {
        check_readable(revision, Revision(0), self.revision)?;
        self.compacted = self.compacted.max(revision);
        self.events.retain(|e| e.revision > revision);
        for versions in self.versions.values_mut() {
            let superseded = versions
                .partition_point(|v| v.modified <= revision)
                .saturating_sub(1);
            versions.drain(..superseded);
        }
        let compacted = self.compacted;
        self.versions.retain(|_, v| {
            v.last()
                .is_some_and(|l| l.value.is_some() || l.modified > compacted)
        });
        Ok(())
    }
}

impl History for Inner {
    fn events(
        &self,
        prefix: &str,
        after: Revision,
        through: Revision,
        _limit: usize,
    ) -> Result<(Vec<Arc<Event>>, Revision), StoreError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if after < state.compacted {
            return Err(StoreError::Compacted {
                asked: after,
                compacted: state.compacted,
            });
        }
        let wanted = |e: &&Arc<Event>| {
            e.revision > after && e.revision <= through && e.key().starts_with(prefix)
        };
        Ok((
            state.events.iter().filter(wanted).cloned().collect(),
            through,
        ))
    }
}

/// Longest lifetime kept, so that adding it to a clock cannot overflow.
const MAX_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
