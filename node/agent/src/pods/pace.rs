//! How long a pod's loop waits before it looks again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Waits that double as long as nothing works.
pub(super) struct Retry(Duration);

impl Default for Retry {
    fn default() -> Self {
        Retry(RETRY_FIRST)
    }
}

impl Retry {
    pub(super) fn next(&mut self) -> Duration {
        let now = self.0;
        self.0 = (now * 2).min(RETRY_LIMIT);
        now
    }

    pub(super) fn reset(&mut self) {
        *self = Retry::default();
    }
}

/// What was reported as ended but is still shown as running: the CRI learns it a moment after the event.
#[derive(Default)]
pub(super) struct Lag(HashMap<String, Instant>);

impl Lag {
    pub(super) fn report(&mut self, id: String, now: Instant) {
        self.0.entry(id).or_insert(now);
    }

    /// Drops what has caught up, and what never will.
    pub(super) fn retain(&mut self, now: Instant, is_running: impl Fn(&str) -> bool) {
        self.0
            .retain(|id, since| is_running(id) && now.duration_since(*since) < LAG_LIMIT);
    }

    /// When to look again, if at all: each wait is as long as all before it together.
    pub(super) fn pause(&self, now: Instant) -> Option<Duration> {
        let youngest = self.0.values().max()?;
        Some(now.duration_since(*youngest).clamp(LAG_FIRST, LAG_LONGEST))
    }
}

const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LIMIT: Duration = Duration::from_secs(10);
/// The CRI is usually there after some ten milliseconds.
const LAG_FIRST: Duration = Duration::from_millis(20);
const LAG_LONGEST: Duration = Duration::from_secs(1);
/// After this the report was not about what it seemed to be about.
const LAG_LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_double_up_to_a_limit() {
        let mut retry = Retry::default();
        let waits: Vec<_> = (0..8).map(|_| retry.next().as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        retry.reset();
        assert_eq!(retry.next(), RETRY_FIRST);
    }

    #[test]
    fn a_report_that_never_comes_true_costs_a_dozen_looks() {
        let (mut lag, mut now) = (Lag::default(), Instant::now());
        lag.report("one".into(), now);
        let mut looks = 0;
        while let Some(pause) = lag.pause(now) {
            now += pause;
            looks += 1;
            lag.retain(now, |_| true);
        }
        assert!((8..15).contains(&looks), "{looks}");
        lag.report("two".into(), now);
        lag.retain(now, |_| false);
        assert_eq!(lag.pause(now), None);
    }
}
