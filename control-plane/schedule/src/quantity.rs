//! Kubernetes quantities (`100m`, `1Gi`, `2e3`), exactly, rounded up as the API does.

use thiserror::Error;

/// Why a text is not a quantity.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{text:?} is not a quantity")]
pub struct QuantityError {
    text: String,
}

/// A quantity in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity {
    milli: i128,
}

impl Quantity {
    /// Parses `<sign><digits>[.<digits>]<suffix>`, suffixes `n u m k M G T P E`, `Ki … Ei`, `e<exponent>`.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        parse(text).ok_or_else(|| QuantityError {
            text: text.to_owned(),
        })
    }

    /// Thousandths, capped to what the API allows.
    pub fn milli(self) -> i64 {
        clamp(self.milli)
    }

    /// Whole units, rounded up.
    pub fn units(self) -> i64 {
        clamp(self.milli.div_euclid(1_000) + i128::from(self.milli.rem_euclid(1_000) > 0))
    }
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

fn parse(text: &str) -> Option<Quantity> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = rest
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty())
        || fraction.contains('.')
        || number.len() > MAX_DIGITS
    {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = Scale::parse(suffix)?;
    let mut numerator = digits.checked_mul(1_000)?.checked_mul(scale.binary)?;
    let exponent = scale.decimal - i32::try_from(fraction.len()).ok()?;
    let power = 10_i128.checked_pow(exponent.unsigned_abs());
    if exponent >= 0 {
        numerator = power
            .and_then(|power| numerator.checked_mul(power))
            .unwrap_or(i128::from(i64::MAX) * 1_000);
        return Some(Quantity {
            milli: sign * numerator,
        });
    }
    let power = power?;
    let milli = numerator / power + i128::from(numerator % power > 0);
    Some(Quantity {
        milli: sign * milli,
    })
}

/// A suffix as a factor `binary × 10^decimal`.
struct Scale {
    binary: i128,
    decimal: i32,
}

impl Scale {
    fn parse(suffix: &str) -> Option<Self> {
        let decimal = |decimal| Some(Self { binary: 1, decimal });
        let binary = |power: u32| {
            Some(Self {
                binary: 1 << (10 * power),
                decimal: 0,
            })
        };
        match suffix {
            "" => decimal(0),
            "n" => decimal(-9),
            "u" => decimal(-6),
            "m" => decimal(-3),
            "k" => decimal(3),
            "M" => decimal(6),
            "G" => decimal(9),
            "T" => decimal(12),
            "P" => decimal(15),
            "E" => decimal(18),
            "Ki" => binary(1),
            "Mi" => binary(2),
            "Gi" => binary(3),
            "Ti" => binary(4),
            "Pi" => binary(5),
            "Ei" => binary(6),
            _ => {
                let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
                (-MAX_EXPONENT..=MAX_EXPONENT)
                    .contains(&exponent)
                    .then_some(Self {
                        binary: 1,
                        decimal: exponent,
                    })
            }
        }
    }
}

/// More digits than any quantity below 2^63 with nine decimals needs.
const MAX_DIGITS: usize = 30;
/// Exponents beyond this are out of the API's range whatever the digits.
const MAX_EXPONENT: i32 = 30;
