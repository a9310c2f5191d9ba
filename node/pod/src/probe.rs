//! Probe arithmetic: thresholds and schedule. The shell sends the requests.

use crate::phase::later;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Probe};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeKind {
    Startup,
    Liveness,
    Readiness,
}

impl ProbeKind {
    pub const ALL: [ProbeKind; 3] = [
        ProbeKind::Startup,
        ProbeKind::Liveness,
        ProbeKind::Readiness,
    ];

    /// As it stands in upstream's `Unhealthy` events.
    pub fn name(self) -> &'static str {
        match self {
            ProbeKind::Startup => "Startup",
            ProbeKind::Liveness => "Liveness",
            ProbeKind::Readiness => "Readiness",
        }
    }

    pub fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            ProbeKind::Startup => container.startup_probe.as_ref(),
            ProbeKind::Liveness => container.liveness_probe.as_ref(),
            ProbeKind::Readiness => container.readiness_probe.as_ref(),
        }
    }
}

/// Outcomes of one probe of one running container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    successes: i32,
    failures: i32,
    attempts: u32,
    last_at: Option<Timestamp>,
    /// `None` until a threshold was reached.
    pub verdict: Option<bool>,
}

impl Tally {
    /// Counts an outcome; true when the verdict changed by it.
    pub fn record(&mut self, probe: &Probe, success: bool, now: Timestamp) -> bool {
        self.attempts = self.attempts.saturating_add(1);
        self.last_at = Some(now);
        let (count, other, threshold) = match success {
            true => (
                &mut self.successes,
                &mut self.failures,
                probe.success_threshold.unwrap_or(1),
            ),
            false => (
                &mut self.failures,
                &mut self.successes,
                probe.failure_threshold.unwrap_or(3),
            ),
        };
        *other = 0;
        *count = count.saturating_add(1);
        if *count < threshold || self.verdict == Some(success) {
            return false;
        }
        self.verdict = Some(success);
        true
    }

    /// When to probe next. A container that has not been ready yet is asked more often than `periodSeconds`, so that
    /// it serves as soon as it can; an early "no" has no consequence for readiness, so only readiness does this.
    pub fn next_at(&self, kind: ProbeKind, probe: &Probe, started_at: Timestamp) -> Timestamp {
        let seconds = |value: Option<i32>, default: i32| {
            Duration::from_secs(value.unwrap_or(default).max(0).unsigned_abs().into())
        };
        let Some(last_at) = self.last_at else {
            return later(started_at, seconds(probe.initial_delay_seconds, 0));
        };
        let period = seconds(probe.period_seconds, 10).max(Duration::from_secs(1));
        let eager =
            kind == ProbeKind::Readiness && self.verdict != Some(true) && self.successes == 0;
        let early = EAGER_FIRST * 2u32.pow(self.attempts.saturating_sub(1).min(16));
        later(last_at, if eager { period.min(early) } else { period })
    }
}

/// Whether an Event says that an attempt failed. Early askings for readiness come close together and mean little:
/// of those, one in a period is told, and none in the first.
pub fn is_told(
    kind: ProbeKind,
    probe: &Probe,
    started_at: Timestamp,
    told_at: Option<Timestamp>,
    now: Timestamp,
) -> bool {
    let period = probe.period_seconds.unwrap_or(10).max(1).into();
    kind != ProbeKind::Readiness
        || now.duration_since(told_at.unwrap_or(started_at))
            >= jiff::SignedDuration::from_secs(period)
}

/// How long one attempt may take.
pub fn timeout(probe: &Probe) -> Duration {
    Duration::from_secs(
        probe
            .timeout_seconds
            .unwrap_or(1)
            .max(1)
            .unsigned_abs()
            .into(),
    )
}

const EAGER_FIRST: Duration = Duration::from_millis(50);
