//! Process-wide counters: relaxed atomics, for what happens off the plain path.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Process-wide counters.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub connections_accepted: Counter,
    pub accept_pauses: Counter,
    pub handed_over: Counter,
    pub idle_closed: Counter,
    pub handshake_failures: Counter,
    pub unmatched_requests: Counter,
    pub refused_requests: Counter,
    pub send_timeouts: Counter,
    pub upstreams_exhausted: Counter,
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

impl Counters {
    /// Name, help and value of each, without its prefix.
    pub fn rows(&self) -> [(&'static str, &'static str, u64); 14] {
        [
            ("swaps_total", "Tables published", self.swaps.value()),
            (
                "accept_pauses_total",
                "Times that a core stopped accepting because all had enough connections",
                self.accept_pauses.value(),
            ),
            (
                "connections_handed_over_total",
                "Accepted connections that a worker gave to one with fewer",
                self.handed_over.value(),
            ),
            (
                "idle_connections_closed_total",
                "Idle client connections closed to make room for new ones",
                self.idle_closed.value(),
            ),
            (
                "upstream_connects_total",
                "Connections opened to endpoints",
                self.upstream_connects.value(),
            ),
            (
                "upstream_connections_refused_total",
                "Requests answered 503 because a core had all the upstream connections that it may have",
                self.upstreams_exhausted.value(),
            ),
            (
                "client_send_timeouts_total",
                "HTTP/2 streams reset because the client took nothing of the response",
                self.send_timeouts.value(),
            ),
            (
                "upstream_stale_connections_total",
                "Pooled connections found closed when used",
                self.stale_connections.value(),
            ),
            (
                "upstream_broken_responses_total",
                "Responses that an endpoint broke off",
                self.upstream_broken.value(),
            ),
            (
                "upstream_retries_total",
                "Requests sent to another endpoint",
                self.retries.value(),
            ),
            (
                "unmatched_requests_total",
                "Requests without a route",
                self.unmatched_requests.value(),
            ),
            (
                "refused_requests_total",
                "Requests refused for their framing or the size of their head",
                self.refused_requests.value(),
            ),
            (
                "tls_handshake_failures_total",
                "TLS handshakes that failed",
                self.handshake_failures.value(),
            ),
            (
                "access_log_dropped_lines_total",
                "Access log lines dropped because the writer was behind",
                self.log_lines_dropped.value(),
            ),
        ]
    }
}
