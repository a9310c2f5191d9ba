//! Quantities: `100m`, `1Gi`, `1e3`, in upstream's canonical text (`apimachinery/pkg/api/resource`).

use std::cmp::Ordering;

const NANO: i128 = 1_000_000_000;
/// Upstream caps values at the largest signed 64-bit integer.
const MAX_UNITS: i128 = i64::MAX as i128;
/// Digits of a mantissa that are looked at; more is refused, no resource needs them.
const MAX_DIGITS: usize = 36;
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];

/// An amount in billionths, with the family of suffixes it was written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    DecimalSi,
    BinarySi,
    DecimalExponent,
}

impl Quantity {
    /// `None` for text that is no quantity.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = format!("{whole}{fraction}");
        if digits.is_empty() || digits.len() > MAX_DIGITS || fraction.contains('.') {
            return None;
        }
        let mantissa: i128 = digits.parse().ok()?;
        let (factor, exponent, format) = suffix_value(suffix)?;
        let nanos = scaled(mantissa, factor, exponent - fraction.len() as i32);
        Some(Self {
            nanos: if negative { -nanos } else { nanos },
            format,
        })
    }

    /// Upstream's canonical text.
    pub fn canonical(&self) -> String {
        if self.nanos == 0 {
            return "0".to_owned();
        }
        let binary = self.format == Format::BinarySi
            && self.nanos % NANO == 0
            && self.nanos.abs() >= 1024 * NANO;
        if binary {
            return self.canonical_binary();
        }
        let (mut value, mut exponent) = (self.nanos, -9);
        while value % 1000 == 0 && exponent < 18 {
            value /= 1000;
            exponent += 3;
        }
        match self.format {
            Format::DecimalExponent if exponent == 0 => value.to_string(),
            Format::DecimalExponent => format!("{value}e{exponent}"),
            _ => {
                let suffix = DECIMAL.iter().find(|(_, power)| *power == exponent);
                format!("{value}{}", suffix.map_or("", |(suffix, _)| suffix))
            }
        }
    }

    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    pub fn is_integer(&self) -> bool {
        self.nanos % NANO == 0
    }

    fn canonical_binary(&self) -> String {
        let (mut value, mut power) = (self.nanos / NANO, 0);
        while value % 1024 == 0 && power + 1 < BINARY.len() {
            value /= 1024;
            power += 1;
        }
        format!("{value}{}", BINARY[power])
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.nanos.cmp(&other.nanos))
    }
}

/// Binary factor, power of ten, format.
fn suffix_value(suffix: &str) -> Option<(i128, i32, Format)> {
    if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Some((1, *power, Format::DecimalSi));
    }
    if let Some(power) = BINARY.iter().position(|name| *name == suffix) {
        return Some((1_i128 << (10 * power), 0, Format::BinarySi));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    let exponent: i32 = exponent.parse().ok()?;
    (exponent.abs() <= 100).then_some((1, exponent, Format::DecimalExponent))
}

/// `mantissa * factor * 10^exponent` in billionths: rounded up below them, capped above.
fn scaled(mantissa: i128, factor: i128, exponent: i32) -> i128 {
    let cap = MAX_UNITS * NANO;
    let Some(value) = mantissa.checked_mul(factor) else {
        return cap;
    };
    let exponent = exponent + 9;
    if value == 0 {
        return 0;
    }
    let power = 10_i128.checked_pow(exponent.unsigned_abs());
    match (power, exponent >= 0) {
        (Some(power), true) => value.checked_mul(power).map_or(cap, |v| v.min(cap)),
        (None, true) => cap,
        (Some(power), false) => ((value + power - 1) / power).min(cap),
        (None, false) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::Quantity;

    #[test]
    fn texts_become_upstreams_canonical_texts() {
        let cases = [
            ("100m", "100m"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1500m", "1500m"),
            ("1000", "1k"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("512", "512"),
            ("0.5Ki", "512"),
            ("1e3", "1e3"),
            ("12E6", "12e6"),
            ("1E", "1E"),
            ("-1Ki", "-1Ki"),
            ("0", "0"),
            ("0Gi", "0"),
            ("1n", "1n"),
            ("0.1n", "1n"),
            ("99999999999999999999", "9223372036854775807"),
            ("+3", "3"),
            (".5", "500m"),
        ];
        for (text, expected) in cases {
            assert_eq!(
                Quantity::parse(text).unwrap().canonical(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "", "abc", "1.2.3", "1Xi", "--1", "1 Gi", "m", "1e", "1e1000",
        ] {
            assert_eq!(Quantity::parse(text), None, "{text}");
        }
    }
}
