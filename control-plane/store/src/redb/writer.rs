//! The one thread that writes: takes what is waiting, commits it together, tells the watchers, then the callers.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use ::redb::Database;
use tokio::sync::oneshot;

use super::RedbConfig;
use super::round::{Round, now_ms};
use crate::error::StoreError;
use crate::key_value::{Event, Revision};
use crate::store::{Outcome, Put};
use crate::watch::Hub;

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

pub(super) enum Operation {
    Put {
        put: Put,
        reply: Reply<Outcome>,
    },
    Delete {
        key: String,
        expected: Revision,
        reply: Reply<Outcome>,
    },
    Compact {
        revision: Revision,
        reply: Reply<()>,
    },
}

pub(super) struct Writer {
    database: Arc<Database>,
    path: PathBuf,
    hub: Arc<Hub>,
    config: RedbConfig,
    /// Where the revision stood at the last round of compaction: what the next one forgets.
    round: Revision,
    /// History is being forgotten up to here, a step per commit.
    compacting: Option<Revision>,
    next_round: Instant,
    next_expiry: Instant,
    /// The disk failed. The database refuses everything from then on, even if the disk comes back.
    failed: Option<StoreError>,
}

impl Drop for Writer {
    /// Also when a panic ends the thread: nothing will be published any more, and watchers must not wait for it.
    fn drop(&mut self) {
        self.hub.close();
    }
}

/// What one transaction did.
struct Committed {
    events: Vec<Arc<Event>>,
    revision: Revision,
    /// History still to be forgotten.
    compacting: Option<Revision>,
}

/// Replies to send once the commit is durable.
pub(super) enum Pending {
    Outcome(Reply<Outcome>, Outcome),
    Done(Reply<()>, Result<(), StoreError>),
}

impl Writer {
    pub(super) fn new(
        database: Arc<Database>,
        path: PathBuf,
        hub: Arc<Hub>,
        config: RedbConfig,
    ) -> Self {
        let now = Instant::now();
        Self {
            database,
            path,
            round: hub.published(),
            compacting: None,
            next_round: now + config.compact_every,
            next_expiry: now + config.expire_every,
            hub,
            config,
            failed: None,
        }
    }

    pub(super) fn run(mut self, operations: &Receiver<Operation>) {
        while self.failed.is_none() {
            let first = match operations.recv_timeout(self.idle_for()) {
                Ok(operation) => Some(operation),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            self.keep_house();
            let batch: Vec<Operation> = first
                .into_iter()
                .chain(operations.try_iter().take(MAX_BATCH - 1))
                .collect();
            self.commit(batch);
        }
        if let Some(failed) = &self.failed {
            operations.iter().for_each(|o| o.refuse(failed));
        }
    }

    fn idle_for(&self) -> Duration {
        if self.compacting.is_some() {
            return Duration::ZERO;
        }
        let next = self.next_round.min(self.next_expiry);
        next.saturating_duration_since(Instant::now())
    }

    fn keep_house(&mut self) {
        if Instant::now() < self.next_round {
            return;
        }
        self.next_round = Instant::now() + self.config.compact_every;
        self.compacting = self.compacting.max(Some(self.round));
        self.round = self.hub.published();
    }

    fn commit(&mut self, batch: Vec<Operation>) {
        let expire = Instant::now() >= self.next_expiry;
        if expire {
            self.next_expiry = Instant::now() + self.config.expire_every;
        }
        if batch.is_empty() && !expire && self.compacting.is_none() {
            return;
        }
        let mut pending = Vec::with_capacity(batch.len());
        match self.write(batch, expire, &mut pending) {
            Ok(committed) => {
                self.compacting = committed.compacting;
                self.hub.publish(committed.events, committed.revision);
                pending.into_iter().for_each(Pending::acknowledge);
            }
            Err(error) => {
                // Housekeeping would meet the same fault at once and spin.
                self.compacting = None;
                let failed = StoreError::Failed {
                    path: self.path.clone(),
                    reason: error.to_string(),
                };
                if is_final(&error) {
                    self.give_up(&error, failed.clone());
                } else {
                    tracing::error!(path = %self.path.display(), %error, "a commit failed");
                }
                for reply in pending {
                    reply.refuse(&failed);
                }
            }
        }
    }

    fn give_up(&mut self, error: &::redb::Error, failed: StoreError) {
        tracing::error!(
            path = %self.path.display(),
            %error,
            "the disk under the database failed: nothing is written until this process is started again"
        );
        self.failed = Some(failed);
        self.hub.close();
    }

    /// One transaction. Nothing of it is visible if it fails.
    fn write(
        &self,
        batch: Vec<Operation>,
        expire: bool,
        pending: &mut Vec<Pending>,
    ) -> Result<Committed, ::redb::Error> {
        let write = self.database.begin_write()?;
        let mut compacting = self.compacting;
        let mut round = Round::open(&write, self.hub.published())?;
        let before = round.revision;
        // Operations that fail half-way make the whole batch fail: every caller then has its answer in `pending`.
        let mut fault = None;
        for operation in batch {
            if let Err(error) = round.apply(operation, pending, &mut compacting) {
                fault.get_or_insert(error);
            }
        }
        if let Some(error) = fault {
            return Err(error);
        }
        if expire {
            round.expire(now_ms())?;
        }
        let left = match compacting {
            Some(target) if !round.compact(target)? => Some(target),
            _ => None,
        };
        let (events, revision) = (std::mem::take(&mut round.events), round.revision);
        let changed = round.close()?;
        if revision == before && !changed {
            write.abort()?;
        } else {
            write.commit()?;
        }
        Ok(Committed {
            events,
            revision,
            compacting: left,
        })
    }
}

impl Operation {
    fn refuse(self, failed: &StoreError) {
        match self {
            Self::Put { reply, .. } | Self::Delete { reply, .. } => {
                drop(reply.send(Err(failed.clone())));
            }
            Self::Compact { reply, .. } => drop(reply.send(Err(failed.clone()))),
        }
    }
}

/// Whether the database refuses every later transaction, too (redb latches I/O errors).
fn is_final(error: &::redb::Error) -> bool {
    use ::redb::Error::{Io, LockPoisoned, PreviousIo};
    matches!(error, Io(_) | PreviousIo | LockPoisoned(_))
}

impl Pending {
    fn acknowledge(self) {
        // A caller that went away no longer needs its answer.
        match self {
            Self::Outcome(reply, outcome) => drop(reply.send(Ok(outcome))),
            Self::Done(reply, done) => drop(reply.send(done)),
        }
    }

    fn refuse(self, failed: &StoreError) {
        match self {
            Self::Outcome(reply, _) => drop(reply.send(Err(failed.clone()))),
            Self::Done(reply, _) => drop(reply.send(Err(failed.clone()))),
        }
    }
}

/// Writes committed together: bounds the latency of the first one.
const MAX_BATCH: usize = 512;
