//! Cookie affinity: a key that the client keeps, hashed onto the endpoints by their own names.
//!
//! Rendezvous hashing with a fixed function: every core and every replica agrees without talking, and a change of one
//! endpoint moves only the clients that it had.

use std::{fmt::Write, net::SocketAddr};

use http::{HeaderMap, HeaderValue, header};
use portcullis_route::spec::CookieAffinity;
use sha2::{Digest, Sha256};
use time::{OffsetDateTime, macros::format_description};

/// What a request's cookie says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stickiness {
    pub key: String,
    /// The client does not have the key yet.
    pub is_new: bool,
}

/// The key from the request's cookie: best one made for this backend. A key that names no endpoint serves any backend, so
/// that two of them under one path do not take turns replacing each other's cookie.
pub(crate) fn read(headers: &HeaderMap, cookie: &CookieAffinity, tag: &str) -> Option<String> {
    let keys =
        || keys(headers, cookie).filter(|(key, _)| !key.is_empty() && key.len() <= MAX_KEY_BYTES);
    let own = keys().find(|(_, owner)| *owner == tag);
    let any = || (!cookie.persistent).then(|| keys().next()).flatten();
    own.or_else(any).map(|(key, _)| key.to_owned())
}

/// Keys with the backends that they were made for.
fn keys<'a>(
    headers: &'a HeaderMap,
    cookie: &'a CookieAffinity,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(move |(name, _)| *name == cookie.name)
        .filter_map(|(_, value)| value.trim_matches('"').split_once('|'))
}

/// A key for a new client, in ingress-nginx's format: time, worker, random.
pub(crate) fn new_key(now: OffsetDateTime, worker: usize, random: u64) -> String {
    let seconds = now.unix_timestamp();
    let millis = now.millisecond();
    format!("{seconds}.{millis:03}.{worker}.{}", random % 1_000_000)
}

/// The key that names one endpoint (`affinity-mode: persistent`).
pub(crate) fn endpoint_key(backend: &str, endpoint: SocketAddr) -> String {
    hex_digest(format!("{backend}{endpoint}").as_bytes())
}

/// Marks a cookie as made for a backend.
pub(crate) fn backend_tag(backend: &str) -> String {
    hex_digest(backend.as_bytes())
}

/// The endpoint of a key: the one whose name weighs most beside it.
pub(crate) fn choose(key: &str, endpoints: &[SocketAddr]) -> Option<SocketAddr> {
    endpoints
        .iter()
        .copied()
        .max_by_key(|endpoint| (weight(key, *endpoint), *endpoint))
}

/// The `Set-Cookie` that gives a client its key.
pub(crate) fn set_cookie(
    cookie: &CookieAffinity,
    key: &str,
    tag: &str,
    is_https: bool,
    now: OffsetDateTime,
) -> Option<HeaderValue> {
    let mut text = format!("{}={key}|{tag}", cookie.name);
    let mut add = |part: std::fmt::Arguments<'_>| text.write_fmt(part).is_ok();
    if let Some(seconds) = cookie.expires_seconds {
        let at = now.checked_add(time::Duration::seconds(seconds))?;
        let format = format_description!(
            "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
        );
        add(format_args!("; Expires={}", at.format(format).ok()?));
    }
    if let Some(seconds) = cookie.max_age_seconds {
        add(format_args!("; Max-Age={seconds}"));
    }
    if let Some(domain) = &cookie.domain {
        add(format_args!("; Domain={domain}"));
    }
    add(format_args!("; Path={}", cookie.path));
    if cookie.secure == Some(true) || is_https {
        add(format_args!("; Secure"));
    }
    add(format_args!("; HttpOnly"));
    if let Some(same_site) = &cookie.same_site {
        add(format_args!("; SameSite={same_site}"));
    }
    HeaderValue::from_str(&text).ok()
}

/// FNV-1a, then a finaliser that spreads it: part of the contract between replicas, so it is spelled out here.
fn weight(key: &str, endpoint: SocketAddr) -> u64 {
    let ip = match endpoint.ip() {
        std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        std::net::IpAddr::V6(v6) => v6,
    };
    let bytes = key
        .bytes()
        .chain(ip.octets())
        .chain(endpoint.port().to_be_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// 32 digits, the length that ingress-nginx's cookies have there.
fn hex_digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest[..16].iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Longest key taken from a cookie, in bytes; ours have about 30.
const MAX_KEY_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(count: u8) -> Vec<SocketAddr> {
        (0..count)
            .map(|n| SocketAddr::from(([10, 0, 0, n], 80)))
            .collect()
    }

    fn cookie() -> CookieAffinity {
        CookieAffinity {
            name: "INGRESSCOOKIE".into(),
            path: "/".into(),
            domain: None,
            max_age_seconds: Some(60),
            expires_seconds: Some(60),
            secure: None,
            same_site: Some("Lax".into()),
            change_on_failure: false,
            persistent: false,
        }
    }

    #[test]
    fn spreads_keys_and_moves_few_when_an_endpoint_leaves() {
        let (four, three) = (endpoints(4), endpoints(3));
        let keys: Vec<String> = (0..4000).map(|n| format!("1.000.0.{n}")).collect();
        let mut counts = std::collections::HashMap::new();
        for key in &keys {
            let before = choose(key, &four).unwrap();
            *counts.entry(before).or_insert(0) += 1;
            if before != four[3] {
                assert_eq!(choose(key, &three), Some(before));
            }
        }
        assert!(
            counts.values().all(|n| (800..1200).contains(n)),
            "{counts:?}"
        );
    }

    #[test]
    fn writes_and_reads_its_cookie() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let tag = backend_tag("ns-svc-80");
        let key = new_key(now, 1, 7);
        let header = set_cookie(&cookie(), &key, &tag, true, now).unwrap();
        assert_eq!(
            header.to_str().unwrap(),
            format!(
                "INGRESSCOOKIE=0.000.1.7|{tag}; Expires=Thu, 01 Jan 1970 00:01:00 GMT; Max-Age=60; \
                 Path=/; Secure; HttpOnly; SameSite=Lax"
            )
        );
        let mut headers = HeaderMap::new();
        let sent = format!("a=b; INGRESSCOOKIE={key}|{tag}");
        headers.insert(header::COOKIE, sent.parse().unwrap());
        assert_eq!(read(&headers, &cookie(), &tag), Some(key.clone()));
        assert_eq!(read(&headers, &cookie(), "other"), Some(key));
        let persistent = CookieAffinity {
            persistent: true,
            ..cookie()
        };
        assert_eq!(read(&headers, &persistent, "other"), None);
        let both = "INGRESSCOOKIE=1|one; INGRESSCOOKIE=2|two".parse().unwrap();
        headers.insert(header::COOKIE, both);
        assert_eq!(read(&headers, &cookie(), "two").as_deref(), Some("2"));
        assert_eq!(read(&headers, &persistent, "two").as_deref(), Some("2"));
        assert_eq!(read(&headers, &cookie(), "three").as_deref(), Some("1"));
    }
}
