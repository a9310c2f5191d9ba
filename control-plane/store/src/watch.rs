//! Delivery of events: replay of history first, then live events, without gap or repeat.
//!
//! A watcher that does not keep up loses its watch, never an event: a client that misses one is wrong for ever, one that
//! is cut off lists again.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::error::StoreError;
use crate::key_value::{Event, Revision};

/// Events waiting for one watcher. Beyond it the watch ends with [`WatchEnd::TooSlow`].
pub const MAX_QUEUED_EVENTS: usize = 4_096;

/// Events fetched from history at a time, so that a long replay holds little memory.
const REPLAY_CHUNK: usize = 256;

/// Reads history: events below a prefix with `after < revision <= through`, at most so many.
pub(crate) trait History: Send + Sync {
    /// The events, and the revision up to which they are complete.
    fn events(
        &self,
        prefix: &str,
        after: Revision,
        through: Revision,
        limit: usize,
    ) -> Result<(Vec<Arc<Event>>, Revision), StoreError>;
}

/// Why a watch gives no more events.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatchEnd {
    #[error("the watcher did not keep up with the events")]
    TooSlow,
    #[error("the store is closed")]
    Closed,
    #[error(transparent)]
    History(#[from] StoreError),
}

/// A running watch; ends when dropped.
pub struct Watch {
    prefix: String,
    history: Arc<dyn History>,
    /// Delivered, or known to have no event for us, up to here.
    seen: Revision,
    /// Live events start after this one; before it history answers.
    joined: Revision,
    replayed: std::vec::IntoIter<Arc<Event>>,
    live: mpsc::Receiver<Arc<Event>>,
    subscription: Arc<Subscription>,
}

impl Watch {
    /// The next event.
    ///
    /// # Errors
    /// The watch is over: list again and watch from there.
    pub async fn next(&mut self) -> Result<Arc<Event>, WatchEnd> {
        if let Some(event) = self.replay()? {
            return Ok(event);
        }
        loop {
            let Some(event) = self.live.recv().await else {
                return Err(self.subscription.end());
            };
            if self.fresh(&event) {
                return Ok(event);
            }
        }
    }

    /// The next event if one is waiting. `Ok(None)` means that all events up to the store's progress, as read before the
    /// call, were delivered.
    ///
    /// # Errors
    /// As [`Watch::next`].
    pub fn try_next(&mut self) -> Result<Option<Arc<Event>>, WatchEnd> {
        if let Some(event) = self.replay()? {
            return Ok(Some(event));
        }
        loop {
            match self.live.try_recv() {
                Ok(event) if self.fresh(&event) => return Ok(Some(event)),
                Ok(_) => {}
                Err(mpsc::error::TryRecvError::Empty) => return Ok(None),
                Err(mpsc::error::TryRecvError::Disconnected) => {
                    return Err(self.subscription.end());
                }
            }
        }
    }

    fn fresh(&mut self, event: &Event) -> bool {
        if event.revision <= self.seen {
            return false;
        }
        self.seen = event.revision;
        true
    }

    fn replay(&mut self) -> Result<Option<Arc<Event>>, WatchEnd> {
        loop {
            if let Some(event) = self.replayed.next() {
                return Ok(Some(event));
            }
            if self.seen >= self.joined {
                return Ok(None);
            }
            let (events, through) =
                self.history
                    .events(&self.prefix, self.seen, self.joined, REPLAY_CHUNK)?;
            self.seen = through;
            self.replayed = events.into_iter();
        }
    }
}

/// Hands every write to the watchers whose prefix it has.
pub(crate) struct Hub {
    state: Mutex<HubState>,
}

struct HubState {
    published: Revision,
    subscriptions: Vec<Subscriber>,
    closed: bool,
}

struct Subscriber {
    prefix: String,
    queue: mpsc::Sender<Arc<Event>>,
    subscription: std::sync::Weak<Subscription>,
}

/// Lives as long as its [`Watch`].
struct Subscription {
    end: Mutex<Option<WatchEnd>>,
}

impl Subscription {
    fn end(&self) -> WatchEnd {
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        end.clone().unwrap_or(WatchEnd::Closed)
    }
}

impl Hub {
    pub(crate) fn new(published: Revision) -> Self {
        Self {
            state: Mutex::new(HubState {
                published,
                subscriptions: Vec::new(),
                closed: false,
            }),
        }
    }

    pub(crate) fn published(&self) -> Revision {
        self.lock().published
    }

    /// Queues `events` (in order of revision) and moves progress to `through`.
    pub(crate) fn publish(&self, events: Vec<Arc<Event>>, through: Revision) {
        let mut state = self.lock();
        for event in events {
            state
                .subscriptions
                .retain(|subscriber| subscriber.offer(&event));
        }
        state.published = through;
    }

    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.subscriptions.clear();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(crate) fn watch(
        &self,
        prefix: &str,
        after: Revision,
        history: Arc<dyn History>,
    ) -> Result<Watch, StoreError> {
        let (queue, live) = mpsc::channel(MAX_QUEUED_EVENTS);
        let subscription = Arc::new(Subscription {
            end: Mutex::new(None),
        });
        let joined = {
            let mut state = self.lock();
            if state.closed {
                return Err(StoreError::Closed);
            }
            // Watches that ended leave their subscriber behind until the next event of their prefix or the next watch.
            state
                .subscriptions
                .retain(|s| s.subscription.strong_count() > 0);
            state.subscriptions.push(Subscriber {
                prefix: prefix.to_owned(),
                queue,
                subscription: Arc::downgrade(&subscription),
            });
            state.published
        };
        // Asking for history even when there is none to replay finds out whether `after` is compacted.
        let (events, through) = history.events(prefix, after, joined.max(after), REPLAY_CHUNK)?;
        Ok(Watch {
            prefix: prefix.to_owned(),
            history,
            seen: through,
            joined,
            replayed: events.into_iter(),
            live,
            subscription,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HubState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscriber {
    /// False when the subscriber is to be dropped.
    fn offer(&self, event: &Arc<Event>) -> bool {
        let Some(subscription) = self.subscription.upgrade() else {
            return false;
        };
        if !event.key().starts_with(&self.prefix) {
            return true;
        }
        if self.queue.try_send(Arc::clone(event)).is_ok() {
            return true;
        }
        *subscription
            .end
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(WatchEnd::TooSlow);
        false
    }
}
