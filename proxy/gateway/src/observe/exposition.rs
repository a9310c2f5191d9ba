//! The scrape: cells summed, named as ingress-nginx names them, encoded by the prometheus crate.

use prometheus::{
    Encoder, TextEncoder,
    proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType},
};

use super::metrics::{
    Cell, Histogram as Cells, LENGTH_BUCKETS, Outcome, RouteSeries, SIZE_BUCKETS, TIME_BUCKETS,
};
use crate::{config::Identity, control::Link, core::Shared, observe::process::ProcessFacts};

/// Everything a scrape reads.
pub(crate) struct Scrape<'a> {
    pub identity: &'a Identity,
    pub shared: &'a Shared,
    pub series: Vec<std::sync::Arc<RouteSeries>>,
    /// Where a controller in another process is followed.
    pub link: Option<Link>,
}

impl Scrape<'_> {
    /// The text of `/metrics`.
    pub fn encode(&self) -> Vec<u8> {
        let mut families = self.request_families();
        families.extend(self.gateway_families());
        families.extend(self.applied_families());
        families.extend(self.link_families());
        families.extend(self.process_families());
        families.retain(|family| !family.get_metric().is_empty());
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&families, &mut text) {
            tracing::warn!(%error, "metrics cannot be encoded");
        }
        text
    }

    fn request_families(&self) -> Vec<MetricFamily> {
        let mut families = [
            family(
                "requests",
                "The total number of client requests",
                MetricType::COUNTER,
            ),
            histogram_family(
                "request_duration_seconds",
                "The request processing time in seconds",
            ),
            histogram_family(
                "response_duration_seconds",
                "The time spent on receiving the response from the upstream server",
            ),
            histogram_family(
                "header_duration_seconds",
                "The time spent on receiving first header from the upstream server",
            ),
            histogram_family(
                "connect_duration_seconds",
                "The time spent on establishing a connection with the upstream server",
            ),
            histogram_family(
                "request_size",
                "The request length (including request line, header, and request body)",
            ),
            histogram_family(
                "response_size",
                "The response length (including request line, header, and request body)",
            ),
            histogram_family("bytes_sent", "The number of bytes sent to a client"),
        ];
        for series in &self.series {
            for (outcome, cell) in series.total() {
                let labels = self.labels(series, outcome);
                for (family, metric) in families.iter_mut().zip(metrics_of(&cell)) {
                    let mut metric = metric;
                    metric.set_label(labels.clone());
                    family.mut_metric().push(metric);
                }
            }
        }
        families.into()
    }

    fn labels(&self, series: &RouteSeries, outcome: Outcome) -> Vec<LabelPair> {
        let key = &series.key;
        let mut labels = self.identity_labels();
        labels.extend([
            label("canary", ""),
            label("host", &key.host),
            label("ingress", &key.labels.ingress),
            label("method", outcome.method),
            label("namespace", &key.labels.namespace),
            label("path", &key.labels.path),
            label("service", &key.labels.service),
            label("status", &outcome.status.to_string()),
        ]);
        labels
    }

    fn identity_labels(&self) -> Vec<LabelPair> {
        vec![
            label("controller_class", &self.identity.controller_class),
            label("controller_namespace", &self.identity.controller_namespace),
            label("controller_pod", &self.identity.controller_pod),
        ]
    }

    fn gateway_families(&self) -> Vec<MetricFamily> {
        let mut families = vec![
            self.connections(),
            self.accepted(),
            self.worker_connections(),
        ];
        families.extend(self.shared.counters.rows().map(|(name, help, value)| {
            let family = plain(&format!("portcullis_{name}"), help, MetricType::COUNTER);
            single(family, counter_metric(value as f64))
        }));
        let table = &self.shared.published.load().table;
        let in_flight = self.shared.requests_in_flight() as f64;
        let gauges = [
            (
                "table_hosts",
                "Hosts in the current table",
                table.hosts.len() as f64,
            ),
            (
                "table_routes",
                "Routes in the current table",
                table.route_count() as f64,
            ),
            ("requests_in_flight", "Requests being served", in_flight),
        ];
        families.extend(gauges.map(|(name, help, value)| {
            let family = plain(&format!("portcullis_{name}"), help, MetricType::GAUGE);
            single(family, gauge_metric(value))
        }));
        families
    }

    /// A published table is what a reload was: ingress-nginx's dashboards watch these.
    fn applied_families(&self) -> Vec<MetricFamily> {
        let published = self.shared.published.load();
        if published.version == 0 {
            return Vec::new();
        }
        let labelled = |name: &str, help: &str, kind: MetricType, mut metric: Metric| {
            metric.set_label(self.identity_labels());
            single(family(name, help, kind), metric)
        };
        vec![
            labelled(
                "config_hash",
                "Running configuration hash actually running",
                MetricType::GAUGE,
                gauge_metric(published.version as f64),
            ),
            labelled(
                "config_last_reload_successful",
                "Whether the last configuration reload attempt was successful",
                MetricType::GAUGE,
                gauge_metric(1.0),
            ),
            labelled(
                "config_last_reload_successful_timestamp_seconds",
                "Timestamp of the last successful configuration reload",
                MetricType::GAUGE,
                gauge_metric(published.applied_at_s),
            ),
            labelled(
                "success",
                "Cumulative number of Ingress controller reload operations",
                MetricType::COUNTER,
                counter_metric(self.shared.counters.swaps.value() as f64),
            ),
        ]
    }

    fn link_families(&self) -> Vec<MetricFamily> {
        let Some(link) = &self.link else {
            return Vec::new();
        };
        let gauge = |name: &str, help: &str, value: f64| {
            let family = plain(&format!("portcullis_{name}"), help, MetricType::GAUGE);
            single(family, gauge_metric(value))
        };
        let connected = f64::from(u8::from(link.is_connected));
        let mut families = vec![gauge(
            "controller_connected",
            "Whether a controller is connected",
            connected,
        )];
        if let Some(age) = link.set_age(std::time::SystemTime::now()) {
            families.push(gauge(
                "set_age_seconds",
                "Time since a controller stood behind what is served; 0 while it does",
                age.as_secs_f64(),
            ));
        }
        families
    }

    fn process_families(&self) -> Vec<MetricFamily> {
        let Ok(facts) = ProcessFacts::read() else {
            return Vec::new();
        };
        let labelled = |name: &str, help: &str, kind: MetricType, value: f64| {
            let mut metric = match kind {
                MetricType::COUNTER => counter_metric(value),
                _ => gauge_metric(value),
            };
            metric.set_label(self.identity_labels());
            single(family(&format!("nginx_process_{name}"), help, kind), metric)
        };
        let requests = self.shared.requests_begun() as f64;
        vec![
            labelled(
                "requests_total",
                "total number of client requests",
                MetricType::COUNTER,
                requests,
            ),
            labelled(
                "cpu_seconds_total",
                "Cpu usage in seconds",
                MetricType::COUNTER,
                facts.cpu_s,
            ),
            labelled("num_procs", "number of processes", MetricType::GAUGE, 1.0),
            labelled(
                "resident_memory_bytes",
                "number of bytes of memory in use",
                MetricType::GAUGE,
                facts.resident_bytes as f64,
            ),
            labelled(
                "virtual_memory_bytes",
                "number of bytes of memory in use",
                MetricType::GAUGE,
                facts.virtual_bytes as f64,
            ),
            labelled(
                "read_bytes_total",
                "number of bytes read",
                MetricType::COUNTER,
                facts.read_bytes as f64,
            ),
            labelled(
                "write_bytes_total",
                "number of bytes written",
                MetricType::COUNTER,
                facts.write_bytes as f64,
            ),
        ]
    }

    fn connections(&self) -> MetricFamily {
        let mut family = family(
            "nginx_process_connections",
            "current number of client connections with state {active, reading, writing, waiting}",
            MetricType::GAUGE,
        );
        let active = self.shared.open_connections();
        let writing = self.shared.requests_in_flight();
        let states = [
            ("active", active),
            ("writing", writing),
            ("waiting", (active - writing).max(0)),
        ];
        for (state, value) in states {
            let mut metric = gauge_metric(value as f64);
            metric.set_label(self.state_labels(state));
            family.mut_metric().push(metric);
        }
        family
    }

    fn accepted(&self) -> MetricFamily {
        let mut family = family(
            "nginx_process_connections_total",
            "total number of connections with state {accepted, handled}",
            MetricType::COUNTER,
        );
        for state in ["accepted", "handled"] {
            let value = self.shared.counters.connections_accepted.value();
            let mut metric = counter_metric(value as f64);
            metric.set_label(self.state_labels(state));
            family.mut_metric().push(metric);
        }
        family
    }

    fn worker_connections(&self) -> MetricFamily {
        let mut family = plain(
            "portcullis_worker_connections",
            "Open client connections by worker",
            MetricType::GAUGE,
        );
        for (worker, open) in self.shared.connections().enumerate() {
            let mut metric = gauge_metric(open as f64);
            metric.set_label(vec![label("worker", &worker.to_string())]);
            family.mut_metric().push(metric);
        }
        family
    }

    fn state_labels(&self, state: &str) -> Vec<LabelPair> {
        let mut labels = self.identity_labels();
        labels.push(label("state", state));
        labels
    }
}

fn metrics_of(cell: &Cell) -> [Metric; 8] {
    [
        counter_metric(cell.requests as f64),
        histogram_metric(&cell.request_duration, &TIME_BUCKETS),
        histogram_metric(&cell.response_duration, &TIME_BUCKETS),
        histogram_metric(&cell.header_duration, &TIME_BUCKETS),
        histogram_metric(&cell.connect_duration, &TIME_BUCKETS),
        histogram_metric(&cell.request_size, &LENGTH_BUCKETS),
        histogram_metric(&cell.response_size, &LENGTH_BUCKETS),
        histogram_metric(&cell.bytes_sent, &SIZE_BUCKETS),
    ]
}

fn histogram_metric<const N: usize>(cells: &Cells<N>, bounds: &[f64; N]) -> Metric {
    let mut below = 0;
    let buckets = bounds.iter().zip(cells.buckets).map(|(bound, count)| {
        below += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(below);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(cells.count);
    histogram.set_sample_sum(cells.sum);
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    metric
}

fn counter_metric(value: f64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut metric = Metric::default();
    metric.set_counter(counter);
    metric
}

fn gauge_metric(value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::default();
    metric.set_gauge(gauge);
    metric
}

fn histogram_family(name: &str, help: &str) -> MetricFamily {
    family(name, help, MetricType::HISTOGRAM)
}

fn family(name: &str, help: &str, kind: MetricType) -> MetricFamily {
    plain(&format!("nginx_ingress_controller_{name}"), help, kind)
}

fn plain(name: &str, help: &str, kind: MetricType) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family
}

fn single(mut family: MetricFamily, metric: Metric) -> MetricFamily {
    family.mut_metric().push(metric);
    family
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_owned());
    label
}
