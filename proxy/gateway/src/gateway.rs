//! The composition root of the data plane: start workers, publish specs, drain.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::Ordering::{Relaxed, Release},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};

use portcullis_route::{Refusal, spec::Specs};
use tokio::sync::watch;

use crate::{
    client::{accept, handover},
    config::{Config, Identity},
    control::Link,
    core::{CoreLimits, Shared},
    observe::{
        access_log::{self, LogBuffer},
        admin::Admin,
        metrics::RouteSeries,
    },
    publish::{
        link::Published,
        listeners::Listeners,
        registry::Registry,
        tls::{Tls, TlsStartError},
    },
    worker::{Command, Worker},
};

/// A running data plane. Dropping it stops at once; [`Gateway::drain`] first lets requests finish.
#[derive(Debug)]
pub struct Gateway {
    state: Arc<State>,
    tls: Tls,
    workers: Vec<Worker>,
    admin: Option<Admin>,
    /// Dropped with the gateway.
    _retry: Retry,
    log: Option<access_log::Writer>,
}

/// Why a gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("TLS")]
    Tls(#[from] TlsStartError),
    #[error("access log")]
    AccessLog(#[source] io::Error),
    #[error("worker {number}")]
    Worker {
        number: usize,
        #[source]
        source: io::Error,
    },
    #[error("thread for listeners")]
    Retry(#[source] io::Error),
    #[error("admin address {address}")]
    Admin {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
}

/// What became of a set of specs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApplyReport {
    /// Units that are not served as asked; everything else is.
    pub refusals: Vec<Refusal>,
    /// Every open listener after this set.
    pub bound: Vec<BoundListener>,
}

/// A listener with the address it really has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundListener {
    pub name: String,
    pub address: SocketAddr,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainReport {
    /// Connections that were still open at the deadline and have been cut.
    pub cut_connections: u64,
}

/// What the gateway and its admin endpoint share.
#[derive(Debug)]
pub(crate) struct State {
    pub shared: Arc<Shared>,
    pub identity: Identity,
    /// Set where specs come from a controller in another process.
    link: OnceLock<watch::Receiver<Link>>,
    publisher: Mutex<Publisher>,
}

#[derive(Debug)]
struct Publisher {
    registry: Registry,
    listeners: Listeners,
}

/// A thread that tries again to bind what could not be bound, and sweeps the registry; it ends when `stop` is dropped.
#[derive(Debug)]
struct Retry {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Gateway {
    /// Starts workers and the admin endpoint. Nothing listens for clients before the first [`Gateway::apply`].
    ///
    /// # Errors
    /// The admin address or the log file cannot be opened, or the system refuses threads.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let tls = Tls::new()?;
        let count = match config.workers {
            0 => thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        let (mailboxes, inboxes) = handover::mailboxes(count);
        let limits = CoreLimits::new(&config.limits, accept::connections_per_core(count));
        let shared = Arc::new(Shared::new(mailboxes, limits));
        tracing::info!(
            workers = count,
            connections_per_worker = limits.connections,
            upstream_connections_per_worker = limits.upstreams,
            "gateway starts"
        );
        let (writer, log) = access_log::start(&config.access_log).map_err(StartError::AccessLog)?;
        let workers = inboxes
            .into_iter()
            .enumerate()
            .map(|(number, handed)| {
                let log = LogBuffer::new(writer.clone(), shared.clone());
                Worker::start(number, shared.clone(), handed, log)
                    .map_err(|source| StartError::Worker { number, source })
            })
            .collect::<Result<Vec<Worker>, StartError>>()?;
        let state = Arc::new(State {
            shared,
            identity: config.identity,
            link: OnceLock::new(),
            publisher: Mutex::new(Publisher {
                registry: Registry::new(count),
                listeners: Listeners::new(workers.iter().map(|w| w.commands.clone()).collect()),
            }),
        });
        let retry = Retry::start(state.clone()).map_err(StartError::Retry)?;
        let admin = config
            .admin
            .map(|address| {
                Admin::start(address, state.clone())
                    .map_err(|source| StartError::Admin { address, source })
            })
            .transpose()?;
        Ok(Self {
            state,
            tls,
            workers,
            admin,
            _retry: retry,
            log: Some(log),
        })
    }

    /// Serves `specs` from now on: requests that begin after this returns see them. What cannot be served as asked is
    /// refused by unit and named in the report; nothing else is touched.
    pub fn apply(&self, specs: Arc<Specs>) -> ApplyReport {
        let mut publisher = self.state.publisher();
        let publisher = &mut *publisher;
        let previous = self.state.shared.published.load_full();
        let table = portcullis_route::compile(Some(&previous.table), &specs);
        let mut refusals: Vec<Refusal> = table.refusals().cloned().collect();
        let mut published = Published::link(
            &previous,
            table,
            &specs,
            &mut publisher.registry,
            &mut refusals,
        );
        published.applied_at_s = unix_time_s();
        published.tls = self.tls.apply(&specs, &mut refusals);
        self.state.shared.counters.swaps.add(1);
        let version = published.version;
        self.state.shared.published.store(Arc::new(published));
        self.state.shared.version.store(version, Release);
        if !self.state.shared.is_draining.load(Relaxed) {
            let refused = publisher.listeners.listen(&specs, &mut publisher.registry);
            self.state.shared.unbound.store(refused.len(), Relaxed);
            refusals.extend(refused);
            self.state.shared.stops.fetch_add(1, Release);
        }
        publisher.registry.sweep(Instant::now());
        ApplyReport {
            refusals,
            bound: publisher.listeners.bound(),
        }
    }

    /// Has the admin endpoint say how the link to a controller stands ([`crate::control::Control::link`]); the first
    /// link stays.
    pub fn show_link(&self, link: watch::Receiver<Link>) {
        let _ = self.state.link.set(link);
    }

    /// Open listeners with their addresses, by name.
    pub fn bound(&self) -> Vec<BoundListener> {
        self.state.publisher().listeners.bound()
    }

    /// Where the admin endpoint answers.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|admin| admin.address)
    }

    /// Stops accepting, lets requests finish until `deadline` from now, cuts what is left. Not ready from its start on.
    pub async fn drain(&self, deadline: Duration) -> DrainReport {
        self.state.shared.is_draining.store(true, Relaxed);
        let accepting = self.state.publisher().listeners.close();
        self.state.shared.stops.fetch_add(1, Release);
        let end = Instant::now() + deadline;
        // Before that, a client in an accept queue is nobody's connection. What takes longer is cut as anything else.
        let _ = tokio::time::timeout(deadline, accepting.wait()).await;
        while self.state.shared.open_connections() > 0 && Instant::now() < end {
            tokio::time::sleep(DRAIN_POLL).await;
        }
        let left = self.state.shared.open_connections();
        DrainReport {
            cut_connections: u64::try_from(left).unwrap_or(0),
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        for worker in &self.workers {
            // A worker that is gone already needs no telling.
            let _ = worker.commands.send(Command::Stop);
        }
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take() {
                let _ = thread.join();
            }
        }
        if let Some(lines) = self.log.take().map(access_log::Writer::finish)
            && lines > 0
        {
            self.state.shared.counters.log_lines_dropped.add(lines);
            tracing::warn!(lines, "nobody reads the access log, lines are lost");
        }
    }
}

impl State {
    /// The first specs have been applied, every listener that they want is open, and no drain has begun.
    pub fn is_ready(&self) -> bool {
        self.shared.version.load(Relaxed) > 0
            && self.shared.unbound.load(Relaxed) == 0
            && !self.shared.is_draining.load(Relaxed)
    }

    /// How the link to the controller stands, where there is one.
    pub fn link(&self) -> Option<Link> {
        Some(self.link.get()?.borrow().clone())
    }

    /// Tries again to open what could not be opened.
    fn retry(&self) {
        let has_specs = self.shared.version.load(Relaxed) > 0;
        if !has_specs || self.shared.unbound.load(Relaxed) == 0 {
            return;
        }
        let mut publisher = self.publisher();
        let publisher = &mut *publisher;
        if self.shared.is_draining.load(Relaxed) {
            return;
        }
        let refused = publisher.listeners.open_missing(&mut publisher.registry);
        self.shared.unbound.store(refused.len(), Relaxed);
        // A listener that has moved leaves its old socket.
        self.shared.stops.fetch_add(1, Release);
    }

    /// What a scrape reads.
    pub fn all_series(&self) -> Vec<Arc<RouteSeries>> {
        let mut publisher = self.publisher();
        publisher.registry.sweep(Instant::now());
        publisher.registry.all_series()
    }

    /// Drops what nothing uses any more, whether or not anybody publishes or scrapes.
    fn sweep(&self) {
        self.publisher().registry.sweep(Instant::now());
    }

    fn publisher(&self) -> MutexGuard<'_, Publisher> {
        self.publisher
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Retry {
    fn start(state: Arc<State>) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let run = move || {
            let mut swept = Instant::now();
            while stopped.recv_timeout(RETRY_PERIOD) == Err(mpsc::RecvTimeoutError::Timeout) {
                state.retry();
                if swept.elapsed() >= SWEEP_PERIOD {
                    state.sweep();
                    swept = Instant::now();
                }
            }
        };
        let thread = thread::Builder::new().name("listeners".to_owned());
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread.spawn(run)?),
        })
    }
}

impl Drop for Retry {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn unix_time_s() -> f64 {
    SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(0.0, |since| since.as_secs_f64())
}

/// How often a drain looks whether everybody has left.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// How often a listener that could not be bound is tried again.
const RETRY_PERIOD: Duration = Duration::from_secs(1);

/// How often the registry is swept without a publication or a scrape.
const SWEEP_PERIOD: Duration = Duration::from_secs(60);
