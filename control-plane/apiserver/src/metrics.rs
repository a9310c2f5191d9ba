//! `/metrics`, with upstream's names for what dashboards ask most.

use std::time::Duration;

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};

pub(crate) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
    long_running: IntGaugeVec,
}

/// The labels of one request. Only names of served kinds get here, so the series are bounded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Labels {
    pub verb: &'static str,
    pub group: &'static str,
    pub version: &'static str,
    pub resource: &'static str,
    pub subresource: &'static str,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let names = ["verb", "group", "version", "resource", "subresource"];
        let with_code = [
            "verb",
            "group",
            "version",
            "resource",
            "subresource",
            "code",
        ];
        let own = "the metric's name and labels are constants of this file";
        let requests = IntCounterVec::new(
            Opts::new(
                "apiserver_request_total",
                "Requests by verb, resource and response code.",
            ),
            &with_code,
        )
        .expect(own);
        let durations = HistogramVec::new(
            HistogramOpts::new(
                "apiserver_request_duration_seconds",
                "Time to answer, in seconds, watches left out.",
            )
            .buckets(DURATION_BUCKETS_S.to_vec()),
            &names,
        )
        .expect(own);
        let long_running = IntGaugeVec::new(
            Opts::new(
                "apiserver_longrunning_requests",
                "Watches and followed logs in progress.",
            ),
            &names,
        )
        .expect(own);
        let registry = Registry::new();
        registry.register(Box::new(requests.clone())).expect(own);
        registry.register(Box::new(durations.clone())).expect(own);
        registry
            .register(Box::new(long_running.clone()))
            .expect(own);
        Self {
            registry,
            requests,
            durations,
            long_running,
        }
    }

    pub(crate) fn answered(&self, labels: &Labels, code: u16, took: Duration) {
        let [verb, group, version, resource, subresource] = labels.values();
        let code = code.to_string();
        self.requests
            .with_label_values(&[verb, group, version, resource, subresource, &code])
            .inc();
        if verb != "WATCH" {
            self.durations
                .with_label_values(&labels.values())
                .observe(took.as_secs_f64());
        }
    }

    /// Counts a long-running request until the guard is dropped.
    pub(crate) fn long_running(&self, labels: &Labels) -> LongRunning {
        let gauge = self.long_running.with_label_values(&labels.values());
        gauge.inc();
        LongRunning { gauge }
    }

    pub(crate) fn text(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let encoded = TextEncoder::new().encode(&self.registry.gather(), &mut out);
        encoded.expect("writing to memory does not fail");
        out
    }
}

impl Labels {
    fn values(&self) -> [&'static str; 5] {
        [
            self.verb,
            self.group,
            self.version,
            self.resource,
            self.subresource,
        ]
    }
}

pub(crate) struct LongRunning {
    gauge: prometheus::IntGauge,
}

impl Drop for LongRunning {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// Upstream's, thinned.
const DURATION_BUCKETS_S: &[f64] = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0,
];
