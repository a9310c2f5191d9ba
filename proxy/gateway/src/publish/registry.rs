//! What outlives a table: state keyed by stable id plus a hash of its parameters.
//!
//! A table links to it at the swap; an unrelated change therefore resets nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use foldhash::fast::FixedState;
use portcullis_route::spec::RateLimit;

use super::{
    ids::{Id, Ids},
    limiter::Limiter,
};
use crate::observe::metrics::{MAX_CELLS_PER_CORE, Room, RouteKey, RouteSeries};

/// Owned by the one who publishes; workers only see what is linked.
#[derive(Debug)]
pub(crate) struct Registry {
    limits: HashMap<RateLimit, Weak<Limiter>, FixedState>,
    series: HashMap<RouteKey, KeptSeries, FixedState>,
    room: Arc<Room>,
    workers: usize,
    backend_ids: Ids,
    listener_ids: Ids,
}

#[derive(Debug)]
struct KeptSeries {
    series: Arc<RouteSeries>,
    /// Since when no published route counts into it.
    unused_since: Option<Instant>,
}

impl Registry {
    pub fn new(workers: usize) -> Self {
        Self {
            limits: HashMap::default(),
            series: HashMap::default(),
            room: Arc::new(Room::new(MAX_CELLS_PER_CORE, workers)),
            workers,
            backend_ids: Ids::default(),
            listener_ids: Ids::default(),
        }
    }

    /// The buckets of a limit: shared by every route that names it with the same parameters.
    pub fn limiter(&mut self, spec: &RateLimit) -> Arc<Limiter> {
        let key = RateLimit {
            exempt: Vec::new(),
            status: 0,
            ..spec.clone()
        };
        if let Some(limiter) = self.limits.get(&key).and_then(Weak::upgrade) {
            return limiter;
        }
        let limiter = Arc::new(Limiter::new(spec));
        self.limits.insert(key, Arc::downgrade(&limiter));
        limiter
    }

    pub fn series(&mut self, key: RouteKey) -> Arc<RouteSeries> {
        let (room, workers) = (&self.room, self.workers);
        let kept = self.series.entry(key).or_insert_with_key(|key| KeptSeries {
            series: Arc::new(RouteSeries::new(key.clone(), workers, Some(room.clone()))),
            unused_since: None,
        });
        kept.unused_since = None;
        kept.series.clone()
    }

    pub fn all_series(&self) -> Vec<Arc<RouteSeries>> {
        let kept = self.series.values().map(|kept| &kept.series);
        kept.chain([&self.room.overflow]).cloned().collect()
    }

    pub fn backend_id(&mut self, name: &str) -> Arc<Id> {
        self.backend_ids.id(name)
    }

    pub fn listener_id(&mut self, name: &str) -> Arc<Id> {
        self.listener_ids.id(name)
    }

    /// Drops limits and numbers that nothing uses any more, and series that no route has used for a while.
    pub fn sweep(&mut self, now: Instant) {
        self.backend_ids.sweep();
        self.listener_ids.sweep();
        self.limits.retain(|_, limiter| limiter.strong_count() > 0);
        self.series.retain(|_, kept| {
            if Arc::strong_count(&kept.series) > 1 {
                return true;
            }
            let since = *kept.unused_since.get_or_insert(now);
            now.saturating_duration_since(since) < SERIES_RETENTION
        });
    }
}

/// A scraper sees the last values of a removed route for this long.
const SERIES_RETENTION: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_route::spec::RouteLabels;

    #[test]
    fn a_series_goes_ten_minutes_after_its_route_without_a_publication() {
        let mut registry = Registry::new(1);
        let key = |host: &str| RouteKey {
            host: host.into(),
            labels: RouteLabels::default(),
        };
        let kept = registry.series(key("kept"));
        drop(registry.series(key("removed")));
        let start = Instant::now();
        registry.sweep(start);
        registry.sweep(start + SERIES_RETENTION - Duration::from_secs(1));
        assert_eq!(registry.series.len(), 2);
        registry.sweep(start + SERIES_RETENTION);
        assert_eq!(registry.series.len(), 1);
        assert!(Arc::ptr_eq(&kept, &registry.series(key("kept"))));
    }
}
