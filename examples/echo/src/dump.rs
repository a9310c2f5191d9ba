//! The JSON that describes a request.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use http::request::Parts;
use serde::Serialize;

/// What echo received. Field order is the order in the answer.
#[derive(Debug, Serialize)]
pub(crate) struct Dump<'a> {
    pod: &'a str,
    namespace: &'a str,
    method: &'a str,
    path: &'a str,
    query: &'a str,
    host: String,
    protocol: String,
    remote: String,
    headers: BTreeMap<&'a str, Values>,
    body_bytes: u64,
}

/// A header that came once is a string, one that came more often a list in order.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Many(Vec<String>),
}

impl<'a> Dump<'a> {
    pub(crate) fn of(
        parts: &'a Parts,
        body_bytes: u64,
        remote: SocketAddr,
        pod: &'a str,
        namespace: &'a str,
    ) -> Self {
        let mut headers: BTreeMap<&str, Values> = BTreeMap::new();
        for name in parts.headers.keys() {
            let mut values: Vec<String> = parts.headers.get_all(name).iter().map(text).collect();
            let values = match values.len() {
                1 => Values::One(values.remove(0)),
                _ => Values::Many(values),
            };
            headers.insert(name.as_str(), values);
        }
        let authority = parts.uri.authority().map(ToString::to_string);
        Self {
            pod,
            namespace,
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            host: authority
                .or_else(|| parts.headers.get(http::header::HOST).map(text))
                .unwrap_or_default(),
            protocol: format!("{:?}", parts.version),
            remote: remote.to_string(),
            headers,
            body_bytes,
        }
    }
}

/// Header bytes that are not UTF-8 are shown with replacement characters.
fn text(value: &http::HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}
