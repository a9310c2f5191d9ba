//! The semantic check of a request head: what one message may say about where it goes (RFC 9110, RFC 9112).

use std::borrow::Cow;

use http::{HeaderMap, Method, Uri, header::HOST, request::Parts};

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    #[error("no host")]
    NoHost,
    #[error("more than one Host")]
    ManyHosts,
    #[error("host is not valid")]
    BadHost,
    #[error("Host and request target name different hosts")]
    HostMismatch,
    #[error("user information in the request target")]
    UserInfo,
    #[error("asterisk is for OPTIONS")]
    Asterisk,
    #[error("CONNECT is not served")]
    Connect,
    #[error("head is too large")]
    TooLarge,
}

/// The host that a request is for, in lower case and without its port.
pub(crate) fn check(parts: &Parts) -> Result<Cow<'_, str>, HeadError> {
    if parts.method == Method::CONNECT {
        return Err(HeadError::Connect);
    }
    if parts.uri.path() == "*" && parts.method != Method::OPTIONS {
        return Err(HeadError::Asterisk);
    }
    let authority = authority(&parts.uri)?;
    let host = single_host(&parts.headers)?;
    let named = match (authority, host) {
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
            return Err(HeadError::HostMismatch);
        }
        (Some(text), _) | (None, Some(text)) => text,
        (None, None) => return Err(HeadError::NoHost),
    };
    let name = without_port(named).ok_or(HeadError::BadHost)?;
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        return Ok(Cow::Owned(name.to_ascii_lowercase()));
    }
    Ok(Cow::Borrowed(name))
}

fn authority(uri: &Uri) -> Result<Option<&str>, HeadError> {
    let Some(authority) = uri.authority() else {
        return Ok(None);
    };
    if authority.as_str().contains('@') {
        return Err(HeadError::UserInfo);
    }
    Ok(Some(authority.as_str()))
}

fn single_host(headers: &HeaderMap) -> Result<Option<&str>, HeadError> {
    let mut hosts = headers.get_all(HOST).iter();
    let first = hosts.next();
    if hosts.next().is_some() {
        return Err(HeadError::ManyHosts);
    }
    first
        .map(|value| value.to_str().map_err(|_| HeadError::BadHost))
        .transpose()
}

/// Splits `host[:port]`, checks both, drops one trailing dot.
fn without_port(text: &str) -> Option<&str> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let port_is_valid = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        let is_valid = port_is_valid && address.parse::<std::net::Ipv6Addr>().is_ok();
        return is_valid.then_some(&text[..address.len() + 2]);
    }
    let name = match text.split_once(':') {
        Some((name, port)) if is_port(port) => name,
        Some(_) => return None,
        None => text,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_valid =
        !name.is_empty() && name.len() <= MAX_HOST_BYTES && name.bytes().all(is_host_byte);
    is_valid.then_some(name)
}

fn is_port(text: &str) -> bool {
    text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

/// RFC 1035 2.3.4.
const MAX_HOST_BYTES: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn host(method: &str, uri: &str, hosts: &[&str]) -> Result<String, HeadError> {
        let mut request = Request::builder().method(method).uri(uri);
        for host in hosts {
            request = request.header("host", *host);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        check(&parts).map(Cow::into_owned)
    }

    #[test]
    fn reads_the_host() {
        for (text, name) in [
            ("a.example", "a.example"),
            ("A.Example:8080", "a.example"),
            ("a.example.", "a.example"),
            ("[::1]:80", "[::1]"),
            ("127.0.0.1", "127.0.0.1"),
        ] {
            assert_eq!(host("GET", "/", &[text]).as_deref(), Ok(name), "{text}");
        }
        assert_eq!(host("GET", "http://h/x", &[]).as_deref(), Ok("h"));
    }

    #[test]
    fn refuses_what_is_ambiguous() {
        use HeadError::*;
        assert_eq!(host("GET", "/", &[]), Err(NoHost));
        assert_eq!(host("GET", "/", &["a", "a"]), Err(ManyHosts));
        assert_eq!(host("GET", "http://a/", &["b"]), Err(HostMismatch));
        assert_eq!(host("GET", "http://u@a/", &[]), Err(UserInfo));
        assert_eq!(host("GET", "*", &["a"]), Err(Asterisk));
        assert_eq!(host("CONNECT", "a:443", &["a:443"]), Err(Connect));
        for bad in [
            "", "a b", "u@a", "a/b", "a:x", "a:b:c", "[::1", "[x]", ":80", "a\u{e4}",
        ] {
            assert_eq!(host("GET", "/", &[bad]), Err(BadHost), "{bad}");
        }
    }
}
