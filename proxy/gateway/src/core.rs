//! One worker's world: single-threaded, so that nothing on the request path is locked.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicI64, AtomicU64, AtomicUsize,
            Ordering::{Acquire, Relaxed},
        },
    },
    time::Instant,
};

use arc_swap::ArcSwap;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use smallvec::SmallVec;
use tokio::sync::mpsc::Sender;

use crate::{
    client::handover::{self, Handed, MIN_UNFAIR, Place},
    clock::{Clock, Deadlines},
    config::Limits,
    observe::{access_log::LogBuffer, counters::Counters},
    publish::link::Published,
    upstream::pool::Pool,
};

/// What all workers and the publisher share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub published: ArcSwap<Published>,
    /// Version of `published`: the one atomic load per request.
    pub version: AtomicU64,
    pub is_draining: AtomicBool,
    /// Listeners that are wanted and not open; all that there may be before the first specs.
    pub unbound: AtomicUsize,
    pub limits: CoreLimits,
    /// How many listeners have been closed: tells cores to look for connections to let go.
    pub stops: AtomicU64,
    /// How often a worker has found all of them full: tells the others to let go of idle clients.
    pub pressure: AtomicU64,
    /// By worker.
    pub mailboxes: Box<[Sender<Handed>]>,
    pub origin: Instant,
    pub counters: Counters,
    pub loads: Box<[Load]>,
}

/// What each core takes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CoreLimits {
    /// Client connections.
    pub connections: i64,
    /// Connections to endpoints.
    pub upstreams: i64,
    /// Milliseconds that a client may leave a response waiting.
    pub send_timeout_ms: u64,
}

/// What one worker is busy with. On cache lines of its own: cores do not share what they write.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Load {
    /// Open client connections.
    pub connections: AtomicI64,
    /// Connections to endpoints, being opened, in use or idle.
    pub upstreams: AtomicI64,
    /// Requests in flight.
    pub requests: AtomicI64,
    /// Requests begun, ever.
    pub begun: AtomicI64,
}

/// One worker.
pub(crate) struct Core {
    pub id: usize,
    pub shared: Arc<Shared>,
    pub clock: Arc<Clock>,
    pub deadlines: Deadlines,
    pub pool: Pool,
    pub log: LogBuffer,
    view: RefCell<Rc<View>>,
    round_robin: RefCell<Vec<u32>>,
    random: RefCell<SmallRng>,
    stops_seen: Cell<u64>,
    pressure_seen: Cell<u64>,
    /// Connections from which on a socket may be another worker's, as of the last tick.
    fair_share: Cell<i64>,
    upstreams_warned_ms: Cell<Option<u64>>,
}

/// A worker's own handle on the published state: cloned per request without touching a shared counter.
#[derive(Debug)]
pub(crate) struct View {
    pub published: Arc<Published>,
}

impl Core {
    pub fn new(id: usize, shared: Arc<Shared>, log: LogBuffer) -> Self {
        // Version 0: the first look finds the current state and sets the pool up, however early that was published.
        let published = Arc::default();
        Self {
            id,
            clock: Arc::new(Clock::new(shared.origin)),
            deadlines: Deadlines::default(),
            pool: Pool::default(),
            log,
            view: RefCell::new(Rc::new(View { published })),
            round_robin: RefCell::default(),
            random: RefCell::new(SmallRng::from_os_rng()),
            stops_seen: Cell::new(0),
            pressure_seen: Cell::new(0),
            fair_share: Cell::new(MIN_UNFAIR),
            upstreams_warned_ms: Cell::new(None),
            shared,
        }
    }

    /// The current state.
    pub fn view(&self) -> Rc<View> {
        let view = self.view.borrow();
        if view.published.version == self.shared.version.load(Acquire) {
            return view.clone();
        }
        drop(view);
        self.refresh()
    }

    fn refresh(&self) -> Rc<View> {
        let view = Rc::new(View {
            published: self.shared.published.load_full(),
        });
        let published = &view.published;
        self.pool.configure(
            &published.endpoints,
            published.global.upstream_keepalive_connections as usize,
            published.global.upstream_keepalive_timeout_ms,
        );
        self.view.replace(view.clone());
        view
    }

    /// The next turn of a backend on this core; the first one is random, so that cores do not march in step.
    pub fn next_turn(&self, backend: u32) -> u32 {
        let mut turns = self.round_robin.borrow_mut();
        let at = backend as usize;
        if turns.len() <= at {
            let mut random = self.random.borrow_mut();
            turns.resize_with(at + 1, || random.random());
        }
        turns[at] = turns[at].wrapping_add(1);
        turns[at]
    }

    pub fn load(&self) -> &Load {
        &self.shared.loads[self.id]
    }

    /// Who serves what this core accepts. Only a core that may have too many looks at the others.
    pub fn place(&self) -> Place {
        let mine = self.load().connections.load(Relaxed);
        let limit = self.shared.limits.connections;
        if mine < self.fair_share.get() && mine < limit {
            return Place::Here;
        }
        let loads: SmallVec<[i64; 32]> = self.shared.connections().collect();
        handover::place(self.id, &loads, limit)
    }

    pub fn has_room(&self) -> bool {
        self.load().connections.load(Relaxed) < self.shared.limits.connections
    }

    /// Everybody is full: idle clients go, here at once and elsewhere at the next tick.
    pub fn make_room(&self) {
        self.shared.pressure.fetch_add(1, Relaxed);
        self.let_idle_go();
    }

    fn let_idle_go(&self) {
        self.pressure_seen.set(self.shared.pressure.load(Relaxed));
        let closed = self.deadlines.expire_idle();
        self.shared.counters.idle_closed.add(closed as u64);
    }

    /// Says that requests are refused for want of upstream connections, once in a while.
    pub fn warn_of_upstreams(&self) {
        let now_ms = self.clock.now_ms();
        let last = self.upstreams_warned_ms.get();
        if last.is_none_or(|last| now_ms >= last + WARNING_PERIOD_MS) {
            self.upstreams_warned_ms.set(Some(now_ms));
            let limit = self.shared.limits.upstreams;
            tracing::warn!(
                core = self.id,
                limit,
                "all upstream connections in use, answering 503"
            );
        }
    }

    /// Not for secrets.
    pub fn random_u64(&self) -> u64 {
        self.random.borrow_mut().random()
    }

    pub fn is_draining(&self) -> bool {
        self.shared.is_draining.load(Relaxed)
    }

    /// What runs once per tick, whether or not there is traffic.
    pub fn tick(&self) {
        self.clock.update();
        let now_ms = self.clock.now_ms();
        self.view();
        let stops = self.shared.stops.load(Acquire);
        self.deadlines
            .sweep(now_ms, self.stops_seen.replace(stops) != stops);
        if self.shared.pressure.load(Relaxed) != self.pressure_seen.get() {
            self.let_idle_go();
        }
        let loads = self.shared.connections();
        let fair_share = handover::fair_share(loads, self.shared.loads.len());
        self.fair_share.set(fair_share);
        self.pool.sweep(now_ms);
        self.log.flush();
    }
}

impl CoreLimits {
    /// `share` is what the descriptors allow, for clients and for endpoints each.
    pub fn new(limits: &Limits, share: i64) -> Self {
        let bound = |asked: Option<usize>| {
            asked.map_or(share, |count| i64::try_from(count).unwrap_or(i64::MAX))
        };
        Self {
            connections: bound(limits.connections),
            upstreams: bound(limits.upstream_connections),
            send_timeout_ms: limits.send_timeout.as_millis() as u64,
        }
    }
}

impl Shared {
    /// With a worker per mailbox.
    pub fn new(mailboxes: Vec<Sender<Handed>>, limits: CoreLimits) -> Self {
        Self {
            unbound: AtomicUsize::new(usize::MAX),
            limits,
            published: ArcSwap::default(),
            version: AtomicU64::new(0),
            is_draining: AtomicBool::new(false),
            stops: AtomicU64::new(0),
            origin: Instant::now(),
            counters: Counters::default(),
            loads: mailboxes.iter().map(|_| Load::default()).collect(),
            pressure: AtomicU64::new(0),
            mailboxes: mailboxes.into(),
        }
    }

    /// Open connections by worker.
    pub fn connections(&self) -> impl Iterator<Item = i64> + '_ {
        self.loads.iter().map(|l| l.connections.load(Relaxed))
    }

    pub fn open_connections(&self) -> i64 {
        self.connections().sum()
    }

    pub fn requests_begun(&self) -> i64 {
        self.loads.iter().map(|l| l.begun.load(Relaxed)).sum()
    }

    pub fn requests_in_flight(&self) -> i64 {
        self.loads.iter().map(|l| l.requests.load(Relaxed)).sum()
    }
}

/// Milliseconds between two warnings of the same kind on one core.
const WARNING_PERIOD_MS: u64 = 10_000;
