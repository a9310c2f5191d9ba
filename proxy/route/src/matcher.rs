//! One candidate of a path: the conditions beyond the path, and its precedence among its siblings.

use std::cmp::Reverse;

use http::{HeaderMap, HeaderName, Method};
use regex::Regex;

use crate::{
    find::Head,
    path::hex,
    spec::{NameValueMatch, RouteMatch, ValueMatch},
};

/// The order in which routes of one path are tried (Gateway API, HTTPRouteRule: method, then most headers, then most
/// query parameters, then the oldest), decided when the table is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Precedence {
    /// The bare path of a segment prefix yields to a route that names the path exactly.
    pub is_bare_prefix: bool,
    pub has_method: Reverse<bool>,
    pub headers: Reverse<usize>,
    pub query: Reverse<usize>,
    pub rank: u32,
    /// Position in the spec: the last tie-breaker, so that compilation is deterministic.
    pub position: u32,
}

/// A route as a path offers it.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub precedence: Precedence,
    /// Index into the host's routes.
    pub route: u32,
    /// None for the common route that asks for nothing but its path.
    pub conditions: Option<Box<Conditions>>,
}

/// What a route asks for beyond its path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions {
    method: Option<Method>,
    headers: Vec<(HeaderName, ValueTest)>,
    query: Vec<(String, ValueTest)>,
}

#[derive(Clone, Debug)]
enum ValueTest {
    Exact(String),
    Regex(Regex),
}

impl Candidate {
    pub fn accepts(&self, head: &Head<'_>) -> bool {
        self.conditions.as_ref().is_none_or(|c| c.accept(head))
    }
}

impl Conditions {
    /// None when the match asks for nothing but a path.
    pub fn compile(spec: &RouteMatch) -> Result<Option<Box<Self>>, String> {
        if spec.method.is_none() && spec.headers.is_empty() && spec.query.is_empty() {
            return Ok(None);
        }
        let method = match &spec.method {
            Some(text) => Some(
                Method::from_bytes(text.as_bytes()).map_err(|_| format!("{text} is no method"))?,
            ),
            None => None,
        };
        let headers = spec
            .headers
            .iter()
            .map(|m| {
                let name = HeaderName::from_bytes(m.name.as_bytes())
                    .map_err(|_| format!("{} is no header name", m.name))?;
                Ok((name, ValueTest::compile(m)?))
            })
            .collect::<Result<_, String>>()?;
        let query = spec
            .query
            .iter()
            .map(|m| Ok((m.name.clone(), ValueTest::compile(m)?)))
            .collect::<Result<_, String>>()?;
        Ok(Some(Box::new(Self {
            method,
            headers,
            query,
        })))
    }

    pub fn accept(&self, head: &Head<'_>) -> bool {
        self.method.as_ref().is_none_or(|m| m == head.method)
            && self
                .headers
                .iter()
                .all(|(name, test)| header_passes(head.headers, name, test))
            && self
                .query
                .iter()
                .all(|(name, test)| query_passes(head.query, name, test))
    }
}

impl ValueTest {
    fn compile(spec: &NameValueMatch) -> Result<Self, String> {
        Ok(match &spec.value {
            ValueMatch::Exact(value) => Self::Exact(value.clone()),
            ValueMatch::Regex(pattern) => Self::Regex(compile_full_regex(pattern)?),
        })
    }

    fn passes(&self, value: &str) -> bool {
        match self {
            Self::Exact(expected) => expected == value,
            Self::Regex(regex) => regex.is_match(value),
        }
    }
}

fn header_passes(headers: &HeaderMap, name: &HeaderName, test: &ValueTest) -> bool {
    headers
        .get_all(name)
        .iter()
        .any(|value| value.to_str().is_ok_and(|value| test.passes(value)))
}

/// Only the first parameter of a name counts (Gateway API, HTTPQueryParamMatch).
fn query_passes(query: Option<&str>, name: &str, test: &ValueTest) -> bool {
    query
        .unwrap_or_default()
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(key, _)| decode_query(key) == name)
        .is_some_and(|(_, value)| test.passes(&decode_query(value)))
}

fn decode_query(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let pair = (
            bytes.get(at + 1).and_then(|&b| hex(b)),
            bytes.get(at + 2).and_then(|&b| hex(b)),
        );
        match (bytes[at], pair) {
            (b'%', (Some(high), Some(low))) => {
                out.push(high << 4 | low);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Header and query values match whole (Gateway API leaves it open; anchoring is the safe reading).
fn compile_full_regex(pattern: &str) -> Result<Regex, String> {
    regex::RegexBuilder::new(&format!("^(?:{pattern})$"))
        .size_limit(MAX_REGEX_BYTES)
        .build()
        .map_err(|error| format!("regular expression {pattern:?}: {error}"))
}

/// Compiled size of one user-supplied expression, in bytes: beyond it the route denies. Bounds memory per route.
pub(crate) const MAX_REGEX_BYTES: usize = 1 << 20;
