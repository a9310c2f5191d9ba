//! A work queue: each key once, never on two workers at a time, delayed and retried per key.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// First pause after a failure; doubles per failure in a row (upstream's default rate limiter).
const FIRST_RETRY: Duration = Duration::from_millis(5);
/// Longest pause between retries of one key.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Keys waiting for a worker. Bounded by the number of distinct keys, which the caches bound.
pub(crate) struct Queue<K> {
    state: Mutex<State<K>>,
    wake: Notify,
}

struct State<K> {
    ready: VecDeque<K>,
    queued: HashSet<K>,
    running: HashSet<K>,
    /// Added again while running.
    dirty: HashSet<K>,
    delayed: BTreeMap<Due, K>,
    due: HashMap<K, Due>,
    failures: HashMap<K, u32>,
    sequence: u64,
}

/// When a delayed key is due; the sequence number keeps equal instants apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: Instant,
    sequence: u64,
}

impl<K: Clone + Eq + Hash> Queue<K> {
    pub fn new() -> Self {
        Self {
            state: Mutex::new(State {
                ready: VecDeque::new(),
                queued: HashSet::new(),
                running: HashSet::new(),
                dirty: HashSet::new(),
                delayed: BTreeMap::new(),
                due: HashMap::new(),
                failures: HashMap::new(),
                sequence: 0,
            }),
            wake: Notify::new(),
        }
    }

    pub fn add(&self, key: K) {
        self.lock().push(key);
        self.wake.notify_one();
    }

    /// Adds the key later; the sooner of two delays counts.
    pub fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let mut state = self.lock();
        let at = Instant::now() + delay;
        if let Some(due) = state.due.get(&key).copied() {
            if due.at <= at {
                return;
            }
            state.delayed.remove(&due);
        }
        state.sequence += 1;
        let due = Due {
            at,
            sequence: state.sequence,
        };
        state.delayed.insert(due, key.clone());
        state.due.insert(key, due);
        drop(state);
        self.wake.notify_one();
    }

    /// Adds the key after a pause that doubles with each failure in a row.
    pub fn retry(&self, key: K) {
        let failures = {
            let mut state = self.lock();
            let failures = state.failures.entry(key.clone()).or_insert(0);
            *failures += 1;
            *failures
        };
        let pause = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(failures - 1));
        self.add_after(key, pause.min(LONGEST_RETRY));
    }

    /// Ends a run of failures.
    pub fn succeeded(&self, key: &K) {
        self.lock().failures.remove(key);
    }

    /// The next key. The caller owns it until [`Self::done`].
    pub async fn next(&self) -> K {
        loop {
            let due = {
                let mut state = self.lock();
                state.promote(Instant::now());
                if let Some(key) = state.ready.pop_front() {
                    state.queued.remove(&key);
                    state.running.insert(key.clone());
                    if !state.ready.is_empty() {
                        self.wake.notify_one();
                    }
                    return key;
                }
                state.delayed.keys().next().map(|due| due.at)
            };
            match due {
                None => self.wake.notified().await,
                Some(at) => {
                    let _ = tokio::time::timeout_at(at, self.wake.notified()).await;
                }
            }
        }
    }

    /// Gives the key back.
    pub fn done(&self, key: &K) {
        let mut state = self.lock();
        state.running.remove(key);
        if state.dirty.remove(key) {
            state.push(key.clone());
            drop(state);
            self.wake.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    fn push(&mut self, key: K) {
        if self.running.contains(&key) {
            self.dirty.insert(key);
        } else if self.queued.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    fn promote(&mut self, now: Instant) {
        while let Some(entry) = self
            .delayed
            .first_entry()
            .filter(|entry| entry.key().at <= now)
        {
            let key = entry.remove();
            self.due.remove(&key);
            self.push(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn a_key_waits_once_however_often_it_is_added() {
        let queue = Queue::new();
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.next().now_or_never(), Some("a"));
        queue.done(&"a");
        assert_eq!(queue.next().now_or_never(), None);
    }

    #[test]
    fn a_key_added_while_it_runs_comes_again_afterwards() {
        let queue = Queue::new();
        queue.add("a");
        assert_eq!(queue.next().now_or_never(), Some("a"));
        queue.add("a");
        assert_eq!(queue.next().now_or_never(), None, "never on two workers");
        queue.done(&"a");
        assert_eq!(queue.next().now_or_never(), Some("a"));
    }

    #[tokio::test]
    async fn retries_wait_longer_each_time_until_success() {
        let queue = Queue::new();
        let pause = |queue: &Queue<&'static str>| {
            let state = queue.lock();
            state.due[&"a"].at - Instant::now()
        };
        let mut longest = Duration::ZERO;
        for _ in 0..4 {
            queue.retry("a");
            assert!(pause(&queue) <= FIRST_RETRY * 8);
            assert_eq!(queue.next().await, "a");
            queue.done(&"a");
        }
        for _ in 0..60 {
            queue.retry("a");
            longest = longest.max(pause(&queue));
            queue.lock().delayed.clear();
            queue.lock().due.clear();
        }
        assert!(longest <= LONGEST_RETRY);
        queue.succeeded(&"a");
        queue.retry("a");
        assert!(pause(&queue) <= FIRST_RETRY);
    }

    #[tokio::test]
    async fn the_sooner_of_two_delays_counts() {
        let queue = Queue::new();
        queue.add_after("a", Duration::from_secs(3_600));
        queue.add_after("a", Duration::from_millis(1));
        queue.add_after("a", Duration::from_secs(1_800));
        assert_eq!(queue.next().await, "a");
        queue.done(&"a");
        assert_eq!(queue.next().now_or_never(), None);
    }
}
