//! The one task that holds the translator: changes in, specs out.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use portcullis_route::spec::Specs;
use portcullis_translate::{
    Change, Notice, ObjectKey, Settings, Severity, StatusChange, Translator,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tracing::{debug, info, warn};

use crate::{admin::Counters, watch::Report};

/// What the leader is to write.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox {
    pub statuses: Vec<StatusChange>,
    pub notices: Vec<Arc<[Notice]>>,
    pub ours: Arc<[ObjectKey]>,
    /// The first translation has happened.
    pub begun: bool,
}

pub(crate) struct Publisher {
    translator: Translator,
    reports: mpsc::Receiver<Report>,
    pace: Duration,
    /// Watches whose first list is still out.
    unlisted: HashSet<usize>,
    specs: watch::Sender<Arc<Specs>>,
    outbox: watch::Sender<Arc<Outbox>>,
    logged: HashSet<Notice>,
    counters: Arc<Counters>,
}

/// Where a publisher publishes.
pub(crate) struct Outlets {
    pub specs: watch::Sender<Arc<Specs>>,
    pub outbox: watch::Sender<Arc<Outbox>>,
    pub counters: Arc<Counters>,
}

impl Publisher {
    pub(crate) fn new(
        settings: Settings,
        pace: Duration,
        watches: usize,
        reports: mpsc::Receiver<Report>,
        outlets: Outlets,
    ) -> Self {
        Self {
            translator: Translator::new(settings),
            reports,
            pace,
            unlisted: (0..watches).collect(),
            specs: outlets.specs,
            outbox: outlets.outbox,
            counters: outlets.counters,
            logged: HashSet::new(),
        }
    }

    /// Ends when all watches have.
    pub(crate) async fn run(mut self) {
        let mut due: Option<Instant> = None;
        let mut earliest = Instant::now();
        loop {
            let timer = async {
                match due {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // Reports first: what is already here belongs into the same publication.
                biased;
                report = self.reports.recv() => {
                    let Some(report) = report else { return };
                    self.take(report);
                    if self.unlisted.is_empty() && due.is_none() {
                        due = Some(earliest.max(Instant::now()));
                    }
                }
                () = timer => {
                    due = None;
                    self.publish();
                    earliest = Instant::now() + self.pace;
                }
            }
        }
    }

    fn take(&mut self, report: Report) {
        let is_whole = matches!(report.change, Change::Relist { .. } | Change::Hidden(_));
        if is_whole && self.unlisted.remove(&report.watch) {
            debug!(watch = report.watch, left = self.unlisted.len(), "listed");
        }
        self.translator.apply(report.change);
    }

    fn publish(&mut self) {
        let begin = Instant::now();
        let translation = self.translator.translate();
        let elapsed_us = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.counters.translation_us.store(elapsed_us, Relaxed);
        self.log(&translation.notices);
        let changed = !Arc::ptr_eq(&translation.specs, &self.specs.borrow());
        if changed {
            debug!(
                elapsed_us,
                hosts = translation.specs.hosts.len(),
                "publishing"
            );
            self.specs.send_replace(translation.specs);
            self.counters.published();
        }
        self.outbox.send_replace(Arc::new(Outbox {
            statuses: translation.statuses,
            notices: translation.notices,
            ours: translation.ours,
            begun: true,
        }));
    }

    /// Every warning once, for those who read logs rather than Events.
    fn log(&mut self, notices: &[Arc<[Notice]>]) {
        let warnings = notices.iter().flat_map(|all| all.iter());
        let warnings = warnings.filter(|notice| notice.severity == Severity::Warning);
        let mut now = HashSet::new();
        for notice in warnings {
            if !self.logged.contains(notice) {
                let (ingress, reason) = (&notice.ingress, notice.reason);
                warn!(%ingress, %reason, "{}", notice.message);
            }
            now.insert(notice.clone());
        }
        for gone in self.logged.difference(&now) {
            let (ingress, reason) = (&gone.ingress, gone.reason);
            info!(%ingress, %reason, "no longer: {}", gone.message);
        }
        self.logged = now;
    }
}
