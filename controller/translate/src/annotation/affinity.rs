//! `affinity: cookie` and its `session-cookie-*`.

use portcullis_route::spec::CookieAffinity;

use super::value::Reader;

pub(super) fn parse(reader: &mut Reader<'_>) -> Option<CookieAffinity> {
    reader.option("affinity", &["cookie"])?;
    let name = reader.text("session-cookie-name", "a cookie name", is_basic);
    let secure = reader.bool("session-cookie-secure", false);
    let same_site = reader.option("session-cookie-samesite", &["None", "Lax", "Strict"]);
    let mode = reader.option("affinity-mode", &["balanced", "persistent"]);
    Some(CookieAffinity {
        name: name.unwrap_or_else(|| "INGRESSCOOKIE".to_owned()),
        path: reader
            .text("session-cookie-path", "a path", is_path)
            .unwrap_or_default(),
        domain: reader.text("session-cookie-domain", "a domain", is_basic),
        max_age_seconds: reader.cookie_seconds("session-cookie-max-age"),
        expires_seconds: reader.cookie_seconds("session-cookie-expires"),
        // `false` cannot switch the attribute off on HTTPS, as in ingress-nginx.
        secure: secure.then_some(true),
        same_site: same_site.map(str::to_owned),
        change_on_failure: reader.bool("session-cookie-change-on-failure", false),
        persistent: mode == Some("persistent"),
    })
}

/// ingress-nginx's `BasicChars`, which are also safe in a `Set-Cookie` header.
fn is_basic(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    !text.is_empty() && text.len() <= MAX_TEXT_BYTES && text.bytes().all(allowed)
}

/// The characters of a path that cannot end a cookie attribute.
fn is_path(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~/:%+@".contains(&b);
    text.starts_with('/') && text.len() <= MAX_TEXT_BYTES && text.bytes().all(allowed)
}

/// Bytes of a cookie attribute: it is sent with every first response.
const MAX_TEXT_BYTES: usize = 1024;
