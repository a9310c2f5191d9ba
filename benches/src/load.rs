//! The closed loop: every connection asks, waits for the reply, asks again, the hosts in turn.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::{task::JoinSet, time::sleep};

use crate::{
    client::Connection,
    input::{BODY, CONNECTIONS, host_names, request},
    table::percentile,
};

pub struct Outcome {
    /// Requests completed inside the window.
    pub completed: u64,
    /// Requests completed at all, warm-up included.
    pub total: u64,
    pub window: Duration,
    pub p50: Duration,
    pub p99: Duration,
}

struct Run {
    target: SocketAddr,
    requests: Vec<Vec<u8>>,
    next: Cell<usize>,
    total: Cell<u64>,
    phase: Cell<Phase>,
    latencies_us: RefCell<Vec<u32>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Window,
    Over,
}

/// Loads `target`, calling `probe` at both ends of the window. Runs on the calling thread's `LocalSet`.
///
/// # Errors
/// The first reply that is not the origin's, or a connection that fails.
pub async fn measure<P>(
    target: SocketAddr,
    warm_up: Duration,
    window: Duration,
    probe: impl Fn() -> Result<P>,
) -> Result<(Outcome, P, P)> {
    let run = Rc::new(Run {
        target,
        requests: host_names().map(|host| request(&host, "/", "")).collect(),
        next: Cell::new(0),
        total: Cell::new(0),
        phase: Cell::new(Phase::WarmUp),
        latencies_us: RefCell::new(Vec::with_capacity(LATENCIES)),
    });
    let mut connections = JoinSet::new();
    for _ in 0..CONNECTIONS {
        connections.spawn_local(Rc::clone(&run).converse());
    }

    sleep(warm_up).await;
    let before = probe()?;
    let started = Instant::now();
    run.phase.set(Phase::Window);
    sleep(window).await;
    run.phase.set(Phase::Over);
    let window = started.elapsed();
    let after = probe()?;
    while let Some(ended) = connections.join_next().await {
        ended??;
    }
    Ok((run.outcome(window), before, after))
}

impl Run {
    async fn converse(self: Rc<Self>) -> Result<()> {
        let mut connection = Connection::open(self.target).await?;
        while self.phase.get() != Phase::Over {
            let sent = Instant::now();
            let close = connection.expect(self.next_request(), BODY.len()).await?;
            self.record(sent.elapsed());
            if close {
                connection = Connection::open(self.target).await?;
            }
        }
        Ok(())
    }

    fn next_request(&self) -> &[u8] {
        let next = self.next.get();
        self.next.set((next + 1) % self.requests.len());
        &self.requests[next]
    }

    fn record(&self, latency: Duration) {
        self.total.set(self.total.get() + 1);
        if self.phase.get() == Phase::Window {
            let latency_us = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
            self.latencies_us.borrow_mut().push(latency_us);
        }
    }

    fn outcome(&self, window: Duration) -> Outcome {
        let mut latencies_us = self.latencies_us.borrow_mut();
        latencies_us.sort_unstable();
        Outcome {
            completed: latencies_us.len() as u64,
            total: self.total.get(),
            window,
            p50: percentile(&latencies_us, 50),
            p99: percentile(&latencies_us, 99),
        }
    }
}

/// Requests of a long window on a fast machine, so that recording does not reallocate.
const LATENCIES: usize = 1 << 20;
