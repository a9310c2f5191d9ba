//! What is counted.

use super::wire::Transport;
use hickory_proto::op::ResponseCode;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Since the start.
#[derive(Default)]
pub(crate) struct Metrics {
    udp_requests: AtomicU64,
    tcp_requests: AtomicU64,
    /// By code; the last place is for all that have no name here.
    responses: [AtomicU64; CODES.len() + 1],
    cache_hits: AtomicU64,
    forwards: AtomicU64,
    forward_failures: AtomicU64,
    overloads: AtomicU64,
}

/// What is true now.
pub(crate) struct Gauges {
    pub is_ready: bool,
    pub services: usize,
    pub cache_entries: usize,
}

impl Metrics {
    pub(crate) fn asked(&self, transport: Transport) {
        match transport {
            Transport::Udp => self.udp_requests.fetch_add(1, Relaxed),
            Transport::Tcp => self.tcp_requests.fetch_add(1, Relaxed),
        };
    }

    pub(crate) fn answered(&self, code: ResponseCode) {
        let place = CODES.iter().position(|(known, _)| *known == code);
        self.responses[place.unwrap_or(CODES.len())].fetch_add(1, Relaxed);
    }

    pub(crate) fn cache_hit(&self) {
        self.cache_hits.fetch_add(1, Relaxed);
    }

    pub(crate) fn forwarded(&self) {
        self.forwards.fetch_add(1, Relaxed);
    }

    pub(crate) fn forward_failed(&self) {
        self.forward_failures.fetch_add(1, Relaxed);
    }

    pub(crate) fn overloaded(&self) {
        self.overloads.fetch_add(1, Relaxed);
    }

    /// Prometheus' text format, version 0.0.4.
    pub(crate) fn page(&self, now: &Gauges) -> String {
        let mut page = Page::default();
        page.head("portcullis_dns_requests_total", "counter");
        for (protocol, count) in [("udp", &self.udp_requests), ("tcp", &self.tcp_requests)] {
            page.value(&format!("{{protocol=\"{protocol}\"}}"), read(count));
        }
        page.head("portcullis_dns_responses_total", "counter");
        let names = CODES.iter().map(|(_, name)| *name).chain(["other"]);
        for (name, count) in names.zip(&self.responses) {
            page.value(&format!("{{rcode=\"{name}\"}}"), read(count));
        }
        for (name, count) in [
            ("portcullis_dns_cache_hits_total", &self.cache_hits),
            ("portcullis_dns_forwards_total", &self.forwards),
            (
                "portcullis_dns_forward_failures_total",
                &self.forward_failures,
            ),
            ("portcullis_dns_overloads_total", &self.overloads),
        ] {
            page.head(name, "counter");
            page.value("", read(count));
        }
        for (name, value) in [
            ("portcullis_dns_ready", u64::from(now.is_ready)),
            ("portcullis_dns_services", now.services as u64),
            ("portcullis_dns_cache_entries", now.cache_entries as u64),
        ] {
            page.head(name, "gauge");
            page.value("", value);
        }
        page.text
    }
}

#[derive(Default)]
struct Page {
    text: String,
    name: String,
}

impl Page {
    fn head(&mut self, name: &str, kind: &str) {
        name.clone_into(&mut self.name);
        writeln!(self.text, "# TYPE {name} {kind}").expect("a String takes all");
    }

    fn value(&mut self, labels: &str, value: u64) {
        writeln!(self.text, "{}{labels} {value}", self.name).expect("a String takes all");
    }
}

fn read(count: &AtomicU64) -> u64 {
    count.load(Relaxed)
}

const CODES: [(ResponseCode, &str); 6] = [
    (ResponseCode::NoError, "NOERROR"),
    (ResponseCode::FormErr, "FORMERR"),
    (ResponseCode::ServFail, "SERVFAIL"),
    (ResponseCode::NXDomain, "NXDOMAIN"),
    (ResponseCode::NotImp, "NOTIMP"),
    (ResponseCode::Refused, "REFUSED"),
];
