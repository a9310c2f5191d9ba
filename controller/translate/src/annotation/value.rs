//! Values as ingress-nginx reads them; one that is not understood is told and replaced by its default.

use std::collections::BTreeMap;

use super::Finding;
use crate::notice::Reason;

pub(super) struct Reader<'a> {
    values: &'a BTreeMap<&'a str, &'a str>,
    findings: &'a mut Vec<Finding>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        values: &'a BTreeMap<&'a str, &'a str>,
        findings: &'a mut Vec<Finding>,
    ) -> Self {
        Self { values, findings }
    }

    pub(super) fn bool(&mut self, name: &str, default: bool) -> bool {
        self.read(name, "true or false", parse_bool)
            .unwrap_or(default)
    }

    /// Whole seconds, at least one.
    pub(super) fn seconds_as_ms(&mut self, name: &str, default_ms: u64) -> u64 {
        let parse = |text: &str| text.parse::<u32>().ok().filter(|seconds| *seconds > 0);
        self.read(name, "a whole number of seconds above 0", parse)
            .map_or(default_ms, |seconds| u64::from(seconds) * 1000)
    }

    pub(super) fn size_in_bytes(&mut self, name: &str, default: u64) -> u64 {
        self.read(name, "a size such as 8m, 512k or 0", parse_size)
            .unwrap_or(default)
    }

    /// Seconds of a cookie; they may be negative, which makes the client forget it.
    pub(super) fn cookie_seconds(&mut self, name: &str) -> Option<i64> {
        self.read(name, "a whole number of seconds", |text| text.parse().ok())
    }

    pub(super) fn option<'o>(&mut self, name: &str, options: &[&'o str]) -> Option<&'o str> {
        let expected = format!("one of {}", options.join(", "));
        let parse = |text: &str| options.iter().find(|option| **option == text).copied();
        self.read(name, &expected, parse)
    }

    pub(super) fn text(
        &mut self,
        name: &str,
        expected: &str,
        valid: impl Fn(&str) -> bool,
    ) -> Option<String> {
        self.read(name, expected, |text| valid(text).then(|| text.to_owned()))
    }

    fn read<T>(
        &mut self,
        name: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.values.get(name)?;
        let value = parse(text);
        if value.is_none() {
            self.findings.push(Finding {
                reason: Reason::AnnotationParsingFailed,
                message: format!(
                    "annotation {name}: {:?} is not {expected}; the default is used",
                    shorten(text)
                ),
            });
        }
        value
    }
}

/// What Go's `strconv.ParseBool` takes.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A number with nginx's suffix: none or `b` bytes, `k`, `m`, `g`.
fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

/// Values come from users and end in Events, which are limited to 1 KiB.
pub(super) fn shorten(text: &str) -> &str {
    match text.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

const MAX_SHOWN_CHARS: usize = 80;
