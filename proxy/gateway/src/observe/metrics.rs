//! Counters: per-core cells for request series, relaxed atomics for the rest. Nothing is summed before a scrape.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
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

/// The series of one route, a cell per core.
#[derive(Debug)]
pub(crate) struct RouteSeries {
    pub key: RouteKey,
    cores: Box<[CoreCell]>,
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

/// Process-wide counters.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub connections_accepted: Counter,
    pub accept_pauses: Counter,
    pub handshake_failures: Counter,
    pub unmatched_requests: Counter,
    pub refused_requests: Counter,
    pub upstream_connects: Counter,
    pub upstream_broken: Counter,
    pub stale_connections: Counter,
    pub retries: Counter,
    pub swaps: Counter,
    pub log_lines_dropped: Counter,
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl RouteSeries {
    pub fn new(key: RouteKey, workers: usize) -> Self {
        Self {
            key,
            cores: (0..workers).map(|_| CoreCell::default()).collect(),
        }
    }

    /// The lock is a core's own: only a scrape ever contends for it.
    pub fn observe(&self, core: usize, seen: &Observation) {
        let Some(cell) = self.cores.get(core) else {
            return;
        };
        let mut cells = cell.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let index = match cells.iter().position(|(o, _)| *o == seen.outcome) {
            Some(index) => index,
            None => new_outcome(&mut cells, seen.outcome),
        };
        cells[index].1.add(seen);
    }

    /// The cells of all cores, summed.
    pub fn total(&self) -> Vec<(Outcome, Cell)> {
        let mut total: Vec<(Outcome, Cell)> = Vec::new();
        for core in &self.cores {
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

/// Room for an outcome that was not seen before; beyond the limit all share one.
fn new_outcome(cells: &mut Vec<(Outcome, Box<Cell>)>, outcome: Outcome) -> usize {
    let mut outcome = outcome;
    if cells.len() >= MAX_OUTCOMES {
        outcome = OVERFLOW;
        if let Some(index) = cells.iter().position(|(o, _)| *o == OVERFLOW) {
            return index;
        }
    }
    cells.push((outcome, Box::default()));
    cells.len() - 1
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

    #[test]
    fn an_upstream_that_makes_up_statuses_does_not_grow_the_table() {
        let key = RouteKey {
            host: "a".into(),
            labels: RouteLabels::default(),
        };
        let series = RouteSeries::new(key, 1);
        for status in 0..1000 {
            let outcome = Outcome {
                method: "GET",
                status,
            };
            let seen = Observation {
                outcome,
                request_s: 0.0,
                connect_s: None,
                header_s: None,
                response_s: None,
                request_bytes: 0,
                response_bytes: 0,
            };
            series.observe(0, &seen);
        }
        let total = series.total();
        assert_eq!(total.len(), MAX_OUTCOMES + 1);
        let shared = total.iter().find(|(outcome, _)| *outcome == OVERFLOW);
        assert_eq!(shared.unwrap().1.requests, 1000 - MAX_OUTCOMES as u64);
    }
}
