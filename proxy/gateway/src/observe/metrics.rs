//! Request series: cells per route, outcome and core. Nothing is summed before a scrape.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Instant,
};

use http::Method;
use portcullis_route::spec::RouteLabels;

use crate::{exchange::Exchange, upstream::socket::seconds_since};

/// What identifies a route's series.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RouteKey {
    pub host: String,
    pub labels: RouteLabels,
}

/// The series of one route, cells per core. A route that nobody asks for has none.
#[derive(Debug)]
pub(crate) struct RouteSeries {
    pub key: RouteKey,
    workers: usize,
    cores: OnceLock<Box<[CoreCell]>>,
    /// Where it takes room for cells from; none takes it as it comes.
    room: Option<Arc<Room>>,
}

/// How many cells there may be in the process, and what counts when there is no room for one more.
#[derive(Debug)]
pub(crate) struct Room {
    left: AtomicI64,
    pub overflow: Arc<RouteSeries>,
}

/// On a cache line pair of its own: cores do not share what they write.
#[derive(Debug, Default)]
#[repr(align(128))]
struct CoreCell {
    cells: Mutex<Vec<(Outcome, Box<Cell>)>>,
}

/// The labels that vary by request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Outcome {
    pub method: &'static str,
    pub status: u16,
}

/// ingress-nginx's request series for one outcome.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    pub requests: u64,
    pub request_duration: Histogram<11>,
    pub response_duration: Histogram<11>,
    pub header_duration: Histogram<11>,
    pub connect_duration: Histogram<11>,
    pub request_size: Histogram<10>,
    pub response_size: Histogram<10>,
    pub bytes_sent: Histogram<7>,
}

/// Counts per bucket (not cumulative), with what lies above the last bound in the total only.
#[derive(Clone, Debug)]
pub(crate) struct Histogram<const N: usize> {
    pub buckets: [u64; N],
    pub count: u64,
    pub sum: f64,
}

/// One finished request, measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observation {
    pub outcome: Outcome,
    pub request_s: f64,
    pub connect_s: Option<f64>,
    pub header_s: Option<f64>,
    pub response_s: Option<f64>,
    pub request_bytes: u64,
    pub response_bytes: u64,
}

impl RouteSeries {
    pub fn new(key: RouteKey, workers: usize, room: Option<Arc<Room>>) -> Self {
        Self {
            key,
            workers,
            cores: OnceLock::new(),
            room,
        }
    }

    pub fn observe(&self, core: usize, seen: &Observation) {
        if let Err(room) = self.try_observe(core, seen) {
            room.overflow.observe(core, seen);
        }
    }

    /// The lock is a core's own: only a scrape ever contends for it.
    fn try_observe(&self, core: usize, seen: &Observation) -> Result<(), &Room> {
        let cores = self
            .cores
            .get_or_init(|| (0..self.workers).map(|_| CoreCell::default()).collect());
        let Some(cell) = cores.get(core) else {
            return Ok(());
        };
        let mut cells = cell.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let index = match cells.iter().position(|(o, _)| *o == seen.outcome) {
            Some(index) => index,
            None => self.new_outcome(&mut cells, seen.outcome)?,
        };
        cells[index].1.add(seen);
        Ok(())
    }

    /// Room for an outcome that was not seen before; beyond the limit all of a route's share one.
    fn new_outcome(
        &self,
        cells: &mut Vec<(Outcome, Box<Cell>)>,
        outcome: Outcome,
    ) -> Result<usize, &Room> {
        let mut outcome = outcome;
        if cells.len() >= MAX_OUTCOMES {
            outcome = OVERFLOW;
            if let Some(index) = cells.iter().position(|(o, _)| *o == OVERFLOW) {
                return Ok(index);
            }
        }
        if let Some(room) = self.room.as_deref().filter(|room| !room.take()) {
            return Err(room);
        }
        cells.push((outcome, Box::default()));
        Ok(cells.len() - 1)
    }

    /// The cells of all cores, summed.
    pub fn total(&self) -> Vec<(Outcome, Cell)> {
        let mut total: Vec<(Outcome, Cell)> = Vec::new();
        for core in self.cores.get().into_iter().flatten() {
            let cells = core.cells.lock().unwrap_or_else(PoisonError::into_inner);
            for (outcome, cell) in cells.iter() {
                match total.iter_mut().find(|(o, _)| o == outcome) {
                    Some((_, sum)) => sum.merge(cell),
                    None => total.push((*outcome, (**cell).clone())),
                }
            }
        }
        total.sort_by_key(|(outcome, _)| *outcome);
        total
    }
}

impl Drop for RouteSeries {
    fn drop(&mut self) {
        let (Some(room), Some(cores)) = (&self.room, self.cores.get()) else {
            return;
        };
        for core in cores {
            let cells = core.cells.lock().unwrap_or_else(PoisonError::into_inner);
            room.left.fetch_add(cells.len() as i64, Relaxed);
        }
    }
}

impl Room {
    pub fn new(cells_per_core: i64, workers: usize) -> Self {
        let key = RouteKey {
            host: OVERFLOW_HOST.to_owned(),
            labels: RouteLabels::default(),
        };
        Self {
            left: AtomicI64::new(cells_per_core.saturating_mul(workers as i64)),
            overflow: Arc::new(RouteSeries::new(key, workers, None)),
        }
    }

    fn take(&self) -> bool {
        if self.left.fetch_sub(1, Relaxed) > 0 {
            return true;
        }
        self.left.fetch_add(1, Relaxed);
        false
    }
}

impl Cell {
    fn add(&mut self, seen: &Observation) {
        self.requests += 1;
        self.request_duration.add(seen.request_s, &TIME_BUCKETS);
        if let Some(seconds) = seen.connect_s {
            self.connect_duration.add(seconds, &TIME_BUCKETS);
        }
        if let Some(seconds) = seen.header_s {
            self.header_duration.add(seconds, &TIME_BUCKETS);
        }
        if let Some(seconds) = seen.response_s {
            self.response_duration.add(seconds, &TIME_BUCKETS);
        }
        let (request, response) = (seen.request_bytes as f64, seen.response_bytes as f64);
        self.request_size.add(request, &LENGTH_BUCKETS);
        self.response_size.add(response, &LENGTH_BUCKETS);
        self.bytes_sent.add(response, &SIZE_BUCKETS);
    }

    fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.request_duration.merge(&other.request_duration);
        self.response_duration.merge(&other.response_duration);
        self.header_duration.merge(&other.header_duration);
        self.connect_duration.merge(&other.connect_duration);
        self.request_size.merge(&other.request_size);
        self.response_size.merge(&other.response_size);
        self.bytes_sent.merge(&other.bytes_sent);
    }
}

impl<const N: usize> Histogram<N> {
    fn add(&mut self, value: f64, bounds: &[f64; N]) {
        self.count += 1;
        self.sum += value;
        if let Some(bucket) = bounds.iter().position(|bound| value <= *bound) {
            self.buckets[bucket] += 1;
        }
    }

    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
    }
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self {
            buckets: [0; N],
            count: 0,
            sum: 0.0,
        }
    }
}

impl Observation {
    pub fn of(exchange: &Exchange, now: Instant) -> Self {
        let last = exchange.attempts.last();
        let since = |at: Option<Instant>| {
            let attempt = last?;
            Some(seconds_since(attempt.started, at?))
        };
        Self {
            outcome: Outcome {
                method: known_method(&exchange.method),
                status: exchange.status,
            },
            request_s: seconds_since(exchange.started, now),
            connect_s: since(last.and_then(|a| a.connected)),
            header_s: since(last.and_then(|a| a.responded)),
            response_s: since(last.and_then(|a| a.ended)),
            request_bytes: exchange.request_bytes(),
            response_bytes: exchange.response_head_bytes + exchange.sent_bytes,
        }
    }
}

/// A client must not be able to make series.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        Method::TRACE => "TRACE",
        _ => "OTHER",
    }
}

/// Cells that there may be per core, 11 MiB of them; a route whose first request comes when they are used up counts into
/// the series of [`OVERFLOW_HOST`].
pub(crate) const MAX_CELLS_PER_CORE: i64 = 16 << 10;

/// No host name: the brackets keep it from ever being one.
const OVERFLOW_HOST: &str = "(overflow)";

/// Combinations of method and status kept per route and core; an upstream that makes up statuses shares the last one.
const MAX_OUTCOMES: usize = 200;
const OVERFLOW: Outcome = Outcome {
    method: "OTHER",
    status: 0,
};

/// Seconds. ingress-nginx's buckets.
pub(crate) const TIME_BUCKETS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Bytes. ingress-nginx's buckets, odd as they are.
pub(crate) const LENGTH_BUCKETS: [f64; 10] =
    [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0];
pub(crate) const SIZE_BUCKETS: [f64; 7] = [10.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e7];

#[cfg(test)]
mod tests {
    use super::*;

    fn series(host: &str, workers: usize, room: Option<Arc<Room>>) -> RouteSeries {
        let key = RouteKey {
            host: host.into(),
            labels: RouteLabels::default(),
        };
        RouteSeries::new(key, workers, room)
    }

    fn seen(status: u16) -> Observation {
        Observation {
            outcome: Outcome {
                method: "GET",
                status,
            },
            request_s: 0.0,
            connect_s: None,
            header_s: None,
            response_s: None,
            request_bytes: 0,
            response_bytes: 0,
        }
    }

    fn requests(series: &RouteSeries) -> Vec<(u16, u64)> {
        let total = series.total();
        let counted = total.iter().map(|(o, cell)| (o.status, cell.requests));
        counted.collect()
    }

    #[test]
    fn an_upstream_that_makes_up_statuses_does_not_grow_the_table() {
        let series = series("a", 1, None);
        for status in 0..1000 {
            series.observe(0, &seen(status));
        }
        let total = series.total();
        assert_eq!(total.len(), MAX_OUTCOMES + 1);
        let shared = total.iter().find(|(outcome, _)| *outcome == OVERFLOW);
        assert_eq!(shared.unwrap().1.requests, 1000 - MAX_OUTCOMES as u64);
    }

    #[test]
    fn a_route_that_nobody_asks_for_has_no_cells() {
        let series = series("a", 64, None);
        assert!(series.cores.get().is_none());
        assert_eq!(series.total().len(), 0);
    }

    #[test]
    fn what_finds_no_room_counts_into_one_series_until_there_is_room_again() {
        let room = Arc::new(Room::new(1, 2));
        let (a, b) = (
            series("a", 2, Some(room.clone())),
            series("b", 2, Some(room.clone())),
        );
        for core in [0, 1, 0] {
            a.observe(core, &seen(200));
        }
        for status in [200, 200, 404] {
            b.observe(0, &seen(status));
        }
        assert_eq!(requests(&a), [(200, 3)]);
        assert_eq!(requests(&b), []);
        assert_eq!(requests(&room.overflow), [(200, 2), (404, 1)]);
        drop(a);
        b.observe(0, &seen(200));
        assert_eq!(requests(&b), [(200, 1)]);
    }
}
