//! Times and durations as text: RFC 3339 for `Time` and `MicroTime`, Go's format for `Duration`.

use jiff::Timestamp;

/// `2006-01-02T15:04:05Z`: what `metav1.Time` writes.
pub fn time_text(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `2006-01-02T15:04:05.000000Z`: what `metav1.MicroTime` writes.
pub fn micro_time_text(at: Timestamp) -> String {
    let micros = at.subsec_nanosecond() / 1000;
    format!("{}.{micros:06}Z", at.strftime("%Y-%m-%dT%H:%M:%S"))
}

/// RFC 3339 only: a date, `T`, a time and a zone.
pub fn parse_time(text: &str) -> Option<Timestamp> {
    let shaped =
        text.len() >= 20 && text.is_ascii() && text.as_bytes()[10] == b'T' && !text.contains('[');
    if shaped { text.parse().ok() } else { None }
}

const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("μs", 1_000),
];

/// Go's `time.ParseDuration`, in nanoseconds.
pub fn parse_duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0_f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let amount: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == &rest[..end])?;
        total += amount * *unit as f64;
        rest = &rest[end..];
    }
    (total < i64::MAX as f64).then_some(sign * total as i64)
}

/// Go's `Duration.String`.
pub fn duration_text(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let value = nanos.unsigned_abs();
    let fraction = |unit: u64| {
        let text = format!("{:.9}", value as f64 / unit as f64);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match value {
        0 => "0s".to_owned(),
        1..=999 => format!("{sign}{value}ns"),
        1_000..=999_999 => format!("{sign}{}µs", fraction(1_000)),
        1_000_000..=999_999_999 => format!("{sign}{}ms", fraction(1_000_000)),
        _ => {
            let (seconds, nanos) = (value / 1_000_000_000, value % 1_000_000_000);
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let point = format!("{}.{nanos:09}", seconds % 60);
            let point = point.trim_end_matches('0').trim_end_matches('.');
            match (hours, minutes) {
                (0, 0) => format!("{sign}{point}s"),
                (0, _) => format!("{sign}{minutes}m{point}s"),
                _ => format!("{sign}{hours}h{minutes}m{point}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{duration_text, micro_time_text, parse_duration, parse_time, time_text};

    #[test]
    fn times_are_written_in_utc() {
        let at = parse_time("2024-03-01T12:00:00.123456789+02:00").unwrap();
        assert_eq!(time_text(at), "2024-03-01T10:00:00Z");
        assert_eq!(micro_time_text(at), "2024-03-01T10:00:00.123456Z");
        assert_eq!(parse_time("2024-03-01"), None);
        assert_eq!(parse_time("yesterday"), None);
    }

    #[test]
    fn durations_read_and_write_like_go() {
        for text in ["1h2m3.5s", "5m0s", "1.5ms", "2µs", "7ns", "-3s", "0s"] {
            assert_eq!(duration_text(parse_duration(text).unwrap()), text);
        }
        assert_eq!(parse_duration("5"), None);
        assert_eq!(parse_duration("h"), None);
    }
}
