//! Coarse time and cheap deadlines: one store to arm, one sweep per core and tick to fire.
//!
//! A tokio timer per read costs more than the whole routing of a request. A deadline here is two atomics that a connection
//! owns; the core's sweep wakes the connection's task when one has passed, and the I/O adapter turns that into an error.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::Waker,
    time::{Duration, Instant},
};

use futures::task::AtomicWaker;
use tokio_util::sync::CancellationToken;

/// Milliseconds since the gateway started, as of the last tick or request of this core.
#[derive(Debug)]
pub(crate) struct Clock {
    origin: Instant,
    now_ms: AtomicU64,
}

/// When a peer must have moved. Read and write are watched apart.
#[derive(Debug)]
pub(crate) struct Deadline {
    read_at_ms: AtomicU64,
    write_at_ms: AtomicU64,
    /// From then on, whoever waits for this peer's next message stops waiting.
    let_go_at_ms: AtomicU64,
    has_served: AtomicBool,
    stop: CancellationToken,
    waker: AtomicWaker,
}

/// Every deadline of one core.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    watched: RefCell<Vec<Arc<Deadline>>>,
}

impl Clock {
    pub fn new(origin: Instant) -> Self {
        Self {
            origin,
            now_ms: AtomicU64::new(0),
        }
    }

    pub fn now_ms(&self) -> u64 {
        self.now_ms.load(Relaxed)
    }

    /// Reads the real clock; called once per request and once per tick.
    pub fn update(&self) -> Instant {
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(self.origin);
        self.now_ms.store(elapsed.as_millis() as u64, Relaxed);
        now
    }
}

impl Deadline {
    pub fn arm_read(&self, at_ms: u64) {
        self.read_at_ms.store(at_ms, Relaxed);
    }

    /// The peer has nothing to do until then but to ask again: what a core in need may cut short.
    pub fn arm_idle(&self, at_ms: u64) {
        self.read_at_ms.store(at_ms | IDLE, Relaxed);
    }

    fn is_idle(&self) -> bool {
        let at_ms = self.read_at_ms.load(Relaxed);
        at_ms != NEVER && at_ms & IDLE != 0
    }

    pub fn disarm_read(&self) {
        self.read_at_ms.store(NEVER, Relaxed);
    }

    pub fn is_read_armed(&self) -> bool {
        self.read_at_ms.load(Relaxed) != NEVER
    }

    pub fn arm_write(&self, at_ms: u64) {
        self.write_at_ms.store(at_ms, Relaxed);
    }

    pub fn is_write_armed(&self) -> bool {
        self.write_at_ms.load(Relaxed) != NEVER
    }

    pub fn disarm_write(&self) {
        self.write_at_ms.store(NEVER, Relaxed);
    }

    pub fn read_expired(&self, now_ms: u64) -> bool {
        self.read_at_ms.load(Relaxed) & !IDLE <= now_ms
    }

    pub fn write_expired(&self, now_ms: u64) -> bool {
        self.write_at_ms.load(Relaxed) <= now_ms
    }

    /// A request has come: the peer has had its turn.
    pub fn begin_serving(&self) {
        self.disarm_read();
        self.has_served.store(true, Relaxed);
    }

    /// The listener has closed or the gateway drains: an idle peer is let go.
    pub fn is_let_go(&self, now_ms: u64) -> bool {
        self.let_go_at_ms.load(Relaxed) <= now_ms
    }

    /// When the listener has closed: whoever connected before that may still ask once.
    pub fn let_go_if_stopped(&self, now_ms: u64) {
        if self.stop.is_cancelled() {
            let grace_ms = match self.has_served.load(Relaxed) {
                true => 0,
                false => FIRST_REQUEST_GRACE_MS,
            };
            self.let_go_at_ms.store(now_ms + grace_ms, Relaxed);
        }
    }

    /// The task to wake when a deadline passes.
    pub fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }
}

impl Deadlines {
    /// A deadline of a peer that is let go when `stop` is cancelled.
    pub fn watch(&self, stop: CancellationToken) -> Arc<Deadline> {
        let deadline = Arc::new(Deadline {
            read_at_ms: AtomicU64::new(NEVER),
            write_at_ms: AtomicU64::new(NEVER),
            let_go_at_ms: AtomicU64::new(NEVER),
            has_served: AtomicBool::new(false),
            stop,
            waker: AtomicWaker::new(),
        });
        self.watched.borrow_mut().push(deadline.clone());
        deadline
    }

    /// Ends an eighth of the idle peers, those that have been idle for the longest time, as nginx does when it runs out of
    /// connections. Returns how many.
    pub fn expire_idle(&self) -> usize {
        let watched = self.watched.borrow();
        let mut idle: Vec<&Arc<Deadline>> = watched
            .iter()
            .filter(|deadline| Arc::strong_count(deadline) > 1 && deadline.is_idle())
            .collect();
        let count = (idle.len() / 8).clamp(1, MAX_EXPIRED_IDLE).min(idle.len());
        idle.sort_unstable_by_key(|deadline| deadline.read_at_ms.load(Relaxed));
        for deadline in &idle[..count] {
            deadline.arm_read(0);
            deadline.waker.wake();
        }
        count
    }

    /// Wakes what has expired, forgets what nobody owns any more. `has_stops` says that some listener has closed since
    /// the last sweep.
    pub fn sweep(&self, now_ms: u64, has_stops: bool) {
        self.watched.borrow_mut().retain(|deadline| {
            if Arc::strong_count(deadline) == 1 {
                return false;
            }
            if has_stops {
                deadline.let_go_if_stopped(now_ms);
            }
            if deadline.read_expired(now_ms)
                || deadline.write_expired(now_ms)
                || deadline.is_let_go(now_ms)
            {
                deadline.waker.wake();
            }
            true
        });
    }
}

/// How often a core sweeps: the error of every coarse timeout.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// Milliseconds that a peer has for its first request when its listener closes: it may be on the wire already.
const FIRST_REQUEST_GRACE_MS: u64 = 500;

const NEVER: u64 = u64::MAX;

/// Marks a read deadline as one of an idle peer: a bit that no time has, so that the mark costs no store of its own.
const IDLE: u64 = 1 << 63;

/// Idle peers that one look for room ends at most.
const MAX_EXPIRED_IDLE: usize = 32;
