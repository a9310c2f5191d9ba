//! The one table: medians of all rounds, beside HAProxy's.

use std::{fmt::Write, time::Duration};

use crate::{
    peer::Peer,
    rounds::{Sample, on_or_off},
};

struct Row {
    peer: Peer,
    access_log: bool,
    cpu_us: f64,
    cpu_us_range: (f64, f64),
    ratio: Option<f64>,
    requests_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    resident_mib: f64,
    logged: f64,
}

/// Rows in the order of the peers, access log off first. The ratio is the median of each round's own ratio.
pub fn render(samples: &[Sample]) -> String {
    let mut text = String::from(HEADER);
    let mut notes = String::new();
    for access_log in [false, true] {
        let mut rows: Vec<Row> = Peer::ALL
            .into_iter()
            .filter_map(|peer| row(samples, peer, access_log))
            .collect();
        rows.sort_by_key(|row| row.peer);
        for row in rows {
            let ratio = row
                .ratio
                .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
            let range = format!("{:.1}-{:.1}", row.cpu_us_range.0, row.cpu_us_range.1);
            let log = on_or_off(row.access_log);
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{:<13} {log:<4} {:>10.1} {range:>13} {ratio:>8} {:>9.0} {:>8.2} {:>8.2} {:>8.1}",
                row.peer,
                row.cpu_us,
                row.requests_per_second,
                row.p50_ms,
                row.p99_ms,
                row.resident_mib
            );
            if row.access_log && row.logged < 1.0 {
                let dropped = (1.0 - row.logged) * 100.0;
                let _ = writeln!(
                    notes,
                    "{} left {dropped:.1} % of its access log out.",
                    row.peer
                );
            }
        }
    }
    text + NOTES + &notes
}

fn row(samples: &[Sample], peer: Peer, access_log: bool) -> Option<Row> {
    let of = |peer: Peer| -> Vec<Sample> {
        let mine = samples
            .iter()
            .filter(|sample| sample.peer == peer && sample.access_log == access_log);
        mine.copied().collect()
    };
    let (own, haproxy) = (of(peer), of(Peer::Haproxy));
    if own.is_empty() {
        return None;
    }
    let ratios: Vec<f64> = own
        .iter()
        .zip(&haproxy)
        .map(|(own, haproxy)| own.cpu_us_per_request / haproxy.cpu_us_per_request)
        .collect();
    let cpu: Vec<f64> = own.iter().map(|sample| sample.cpu_us_per_request).collect();
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let middle = |figure: fn(&Sample) -> f64| median(own.iter().map(figure).collect());
    Some(Row {
        peer,
        access_log,
        cpu_us_range: cpu.iter().fold((f64::MAX, 0.0), |(low, high), cpu| {
            (cpu.min(low), cpu.max(high))
        }),
        cpu_us: median(cpu),
        ratio: (!ratios.is_empty()).then(|| median(ratios)),
        requests_per_second: middle(|sample| sample.requests_per_second),
        p50_ms: milliseconds(median_time(own.iter().map(|sample| sample.p50).collect())),
        p99_ms: milliseconds(median_time(own.iter().map(|sample| sample.p99).collect())),
        resident_mib: middle(|sample| sample.resident_bytes as f64 / MEBIBYTE),
        logged: own
            .iter()
            .map(|sample| sample.logged)
            .fold(f64::MAX, f64::min),
    })
}

/// Nearest rank; zero of nothing.
pub fn percentile(sorted_us: &[u32], percent: usize) -> Duration {
    let rank = (sorted_us.len() * percent).div_ceil(100).max(1);
    let us = sorted_us.get(rank - 1).copied().unwrap_or(0);
    Duration::from_micros(u64::from(us))
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() % 2 {
        0 => (figures[middle - 1] + figures[middle]) / 2.0,
        _ => figures[middle],
    }
}

fn median_time(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

const MEBIBYTE: f64 = 1024.0 * 1024.0;

const HEADER: &str = "\
proxy         log  CPU µs/req         range vs HAProxy   req/s    p50 ms   p99 ms  RSS MiB
";
const NOTES: &str = "\
One worker, 64 keep-alive connections, 1,000 hosts in turn, 100-byte replies, plain HTTP/1.1. CPU is user and system time of all the
proxy's threads and processes. Metrics are on where a peer has them (nginx counts connections only). Medians of interleaved rounds.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let hundred: Vec<u32> = (1..=100).collect();
        assert_eq!(percentile(&hundred, 50), Duration::from_micros(50));
        assert_eq!(percentile(&hundred, 99), Duration::from_micros(99));
        assert_eq!(percentile(&[7], 99), Duration::from_micros(7));
        assert_eq!(percentile(&[], 99), Duration::ZERO);
    }

    #[test]
    fn ratios_are_taken_within_a_round_before_their_median() {
        let sample = |peer, cpu_us_per_request| Sample {
            peer,
            access_log: false,
            cpu_us_per_request,
            requests_per_second: 1.0,
            p50: Duration::ZERO,
            p99: Duration::ZERO,
            resident_bytes: 0,
            logged: 0.0,
        };
        let samples = [(10.0, 11.0), (100.0, 120.0), (20.0, 26.0)]
            .map(|(haproxy, nginx)| [sample(Peer::Haproxy, haproxy), sample(Peer::Nginx, nginx)]);
        let nginx = row(samples.as_flattened(), Peer::Nginx, false).unwrap();
        assert_eq!(nginx.ratio, Some(1.2));
        assert_eq!(nginx.cpu_us, 26.0);
        assert!(row(samples.as_flattened(), Peer::Envoy, false).is_none());
    }
}
