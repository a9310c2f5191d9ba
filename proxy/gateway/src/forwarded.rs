//! Headers on their way up, as ingress-nginx sets them; nothing of a client's survives in their place.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};
use portcullis_route::spec::GlobalSpec;
use smallvec::SmallVec;

use crate::{exchange::Exchange, request::origin_form};

/// The client's address: the peer, or what a trusted proxy in front says.
pub(crate) fn set_client(exchange: &mut Exchange, global: &GlobalSpec, headers: &HeaderMap) {
    if !global.use_forwarded_headers {
        return;
    }
    let first = headers
        .get(&X_FORWARDED_FOR)
        .and_then(|value| value.to_str().ok())
        .and_then(|list| list.split(',').next())
        .and_then(|text| text.trim().parse::<IpAddr>().ok());
    if let Some(client) = first {
        exchange.client = client.to_canonical();
    }
}

/// `https` or `http`, as seen by the client.
pub(crate) fn scheme(exchange: &Exchange, headers: &HeaderMap) -> &'static str {
    let view = exchange.core.view();
    if view.published.global.use_forwarded_headers
        && let Some(value) = headers.get(&X_FORWARDED_PROTO)
    {
        return match value.as_bytes().eq_ignore_ascii_case(b"https") {
            true => "https",
            false => "http",
        };
    }
    exchange.connection.scheme()
}

/// The protocol that an HTTP/1.1 client asks to switch to.
pub(crate) fn wanted_upgrade(parts: &Parts) -> Option<HeaderValue> {
    let protocol = parts.headers.get(header::UPGRADE)?;
    // What goes through such a tunnel would be requests that nobody has checked.
    let is_wanted = lists(&parts.headers, header::CONNECTION, "upgrade")
        && !lists(&parts.headers, header::UPGRADE, "h2c");
    (is_wanted && parts.version == http::Version::HTTP_11).then(|| protocol.clone())
}

/// A comma-separated field, on however many lines, holds `token`.
fn lists(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let lines = headers.get_all(name);
    let mut tokens = lines
        .iter()
        .flat_map(|line| line.as_bytes().split(|&b| b == b','));
    tokens.any(|t| t.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Edits the head in place: hop-by-hop fields and everything that the proxy owns go, the proxy's own come last.
pub(crate) fn edit_request(exchange: &mut Exchange, global: &GlobalSpec, parts: &mut Parts) {
    let scheme = HeaderValue::from_static(scheme(exchange, &parts.headers));
    let trusted = |headers: &mut HeaderMap, name: &HeaderName| {
        headers
            .remove(name)
            .filter(|_| global.use_forwarded_headers)
    };
    let host = host_value(parts);
    let headers = &mut parts.headers;
    drop_underscored(headers);
    let original_host = headers.remove(&X_FORWARDED_HOST);
    let forwarded_host = original_host
        .clone()
        .filter(|_| global.use_forwarded_headers);
    let forwarded_port = trusted(headers, &X_FORWARDED_PORT);
    let original_for = headers.remove(&X_FORWARDED_FOR);
    strip_hop_by_hop(headers);
    if parts.version == http::Version::HTTP_2 {
        join_cookies(headers);
    }
    for name in OWNED {
        headers.remove(name);
    }
    let connection = &exchange.connection;
    let client = match exchange.client == connection.peer.ip() {
        true => connection.real_ip.clone(),
        false => ip_value(exchange.client),
    };
    let request_id = request_id(exchange, headers);
    headers.insert(X_REQUEST_ID, request_id.clone());
    headers.insert(X_REAL_IP, client.clone());
    headers.insert(X_FORWARDED_FOR, client);
    let forwarded_host = forwarded_host.unwrap_or_else(|| host.clone());
    headers.insert(X_FORWARDED_HOST, forwarded_host);
    let forwarded_port = forwarded_port.unwrap_or_else(|| connection.port.clone());
    headers.insert(X_FORWARDED_PORT, forwarded_port);
    headers.insert(X_FORWARDED_PROTO, scheme.clone());
    headers.insert(X_FORWARDED_SCHEME, scheme.clone());
    headers.insert(X_SCHEME, scheme);
    if let Some(original) = original_for {
        headers.insert(X_ORIGINAL_FORWARDED_FOR, original);
    }
    if let Some(original) = original_host {
        headers.insert(X_ORIGINAL_FORWARDED_HOST, original);
    }
    headers.insert(header::HOST, host);
    exchange.request_id = Some(request_id);
    origin_form(&mut parts.uri);
    parts.version = http::Version::HTTP_11;
}

/// What does not leave the hop that it was said on (RFC 9110 7.6.1).
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let lines = headers.get_all(header::CONNECTION).iter().cloned();
    let lines: SmallVec<[HeaderValue; 1]> = lines.collect();
    if !lines.is_empty() {
        headers.remove(header::CONNECTION);
    }
    for line in &lines {
        strip_named(headers, line);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

fn strip_named(headers: &mut HeaderMap, connection: &HeaderValue) {
    let bytes = connection.as_bytes();
    let is_plain = [&b"keep-alive"[..], b"close", b"upgrade"]
        .iter()
        .any(|token| bytes.eq_ignore_ascii_case(token));
    if is_plain {
        return;
    }
    let Ok(text) = connection.to_str() else {
        return;
    };
    for token in text.split(',') {
        if let Ok(name) = HeaderName::from_bytes(token.trim().as_bytes())
            && name != header::HOST
            && name != header::CONTENT_LENGTH
        {
            headers.remove(name);
        }
    }
}

/// HTTP/2 may split what HTTP/1.1 has on one line (RFC 9113 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (lines.next(), lines.next()) else {
        return;
    };
    let mut joined = first.as_bytes().to_vec();
    for crumb in std::iter::once(second).chain(lines) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(crumb.as_bytes());
    }
    if let Ok(cookie) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, cookie);
    }
}

/// `enable-underscores-in-headers` is off: an origin may read `X_Real_IP` as `X-Real-IP`.
fn drop_underscored(headers: &mut HeaderMap) {
    let has_underscore = |name: &HeaderName| name.as_str().as_bytes().contains(&b'_');
    while let Some(name) = headers.keys().find(|name| has_underscore(name)).cloned() {
        headers.remove(name);
    }
}

fn host_value(parts: &Parts) -> HeaderValue {
    if let Some(host) = parts.headers.get(header::HOST) {
        return host.clone();
    }
    let authority = parts.uri.authority().map_or("", |a| a.as_str());
    HeaderValue::from_str(authority).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The client's own or a new one.
pub(crate) fn request_id(exchange: &Exchange, headers: &HeaderMap) -> HeaderValue {
    let sent = headers.get(&X_REQUEST_ID).filter(|id| !id.is_empty());
    sent.cloned()
        .unwrap_or_else(|| generate_request_id(exchange))
}

fn generate_request_id(exchange: &Exchange) -> HeaderValue {
    let mut text = [0; 32];
    for half in text.chunks_exact_mut(16) {
        let mut bits = exchange.core.random_u64();
        for digit in half {
            *digit = b"0123456789abcdef"[(bits & 15) as usize];
            bits >>= 4;
        }
    }
    HeaderValue::from_bytes(&text).expect("hexadecimal digits are visible ASCII")
}

fn ip_value(ip: IpAddr) -> HeaderValue {
    HeaderValue::from_str(&ip.to_string()).expect("an address is visible ASCII")
}

const HOP_BY_HOP: [HeaderName; 6] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The proxy's own names beside those set last; `Proxy` is the httpoxy hole, `Expect` is answered here.
const OWNED: [HeaderName; 5] = [
    X_ORIGINAL_FORWARDED_FOR,
    X_ORIGINAL_FORWARDED_HOST,
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("proxy"),
    header::EXPECT,
];

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_SCHEME: HeaderName = HeaderName::from_static("x-forwarded-scheme");
const X_ORIGINAL_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-original-forwarded-for");
const X_ORIGINAL_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-original-forwarded-host");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_SCHEME: HeaderName = HeaderName::from_static("x-scheme");

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(HeaderName, &'static str)]) -> HeaderMap {
        let lines = lines.iter().cloned();
        lines
            .map(|(n, v)| (n, HeaderValue::from_static(v)))
            .collect()
    }

    #[test]
    fn every_connection_line_names_fields_that_go() {
        let mut map = headers(&[
            (header::CONNECTION, "keep-alive"),
            (header::CONNECTION, "x, y"),
            (HeaderName::from_static("x"), "1"),
            (HeaderName::from_static("y"), "1"),
            (HeaderName::from_static("z"), "1"),
        ]);
        strip_hop_by_hop(&mut map);
        assert_eq!(map, headers(&[(HeaderName::from_static("z"), "1")]));
    }

    #[test]
    fn cookie_crumbs_become_one_line() {
        let mut map = headers(&[
            (header::COOKIE, "a=b"),
            (header::COOKIE, "c=d"),
            (header::COOKIE, "e=f"),
        ]);
        join_cookies(&mut map);
        assert_eq!(map, headers(&[(header::COOKIE, "a=b; c=d; e=f")]));
    }

    #[test]
    fn only_an_upgrade_that_is_not_http2_is_wanted() {
        let wanted = |protocol: &'static str, connection: &'static str| {
            let (mut parts, ()) = http::Request::new(()).into_parts();
            let fields = [
                (header::UPGRADE, protocol),
                (header::CONNECTION, connection),
            ];
            parts.headers = headers(&fields);
            wanted_upgrade(&parts).is_some()
        };
        assert!(wanted("websocket", "keep-alive, Upgrade"));
        assert!(!wanted("websocket", "keep-alive"));
        assert!(!wanted("h2c", "Upgrade, HTTP2-Settings"));
        assert!(!wanted("websocket, H2C", "upgrade"));
    }
}
