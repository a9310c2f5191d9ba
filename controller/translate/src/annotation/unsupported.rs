//! Annotations that ask for something this controller does not do yet.
//!
//! What restricts access, or changes what is served, denies the routes of its Ingress. What only decorates (headers,
//! CORS, buffers, logs, the choice of an endpoint) is named to its owner and served without.

use std::collections::BTreeMap;

use super::{Finding, value::parse_bool};
use crate::{notice::Reason, settings::Unsupported};

pub(super) struct Judgement {
    pub denied: Option<String>,
    pub canary: bool,
}

pub(super) fn judge(
    values: &BTreeMap<&str, &str>,
    has_patterns: bool,
    mode: Unsupported,
    findings: &mut Vec<Finding>,
) -> Judgement {
    let mut restricting = Vec::new();
    let mut ignored = Vec::new();
    for (name, value) in values {
        if SUPPORTED.contains(name) || is_inert(name, value) {
            continue;
        }
        let denies = match *name {
            // A path without operators means nearly the same with and without it.
            "use-regex" => has_patterns,
            "modsecurity-snippet" => blocks(value),
            name => DENYING.contains(&name),
        };
        if denies {
            restricting.push(*name);
        } else {
            ignored.push(*name);
        }
    }
    let canary = values.get("canary").and_then(|text| parse_bool(text)) == Some(true);
    if !ignored.is_empty() {
        tell(
            findings,
            format!("not supported yet and without effect: {}", list(&ignored)),
        );
    }
    let mut denied = None;
    if !restricting.is_empty() {
        let names = list(&restricting);
        match mode {
            Unsupported::Deny => {
                let reason = format!(
                    "not supported yet, so its routes answer 503 (--unsupported=serve serves them without): {names}"
                );
                tell(findings, reason.clone());
                denied = Some(reason);
            }
            Unsupported::Serve => tell(
                findings,
                format!("not supported yet, served without by --unsupported=serve: {names}"),
            ),
        }
    }
    Judgement { denied, canary }
}

fn tell(findings: &mut Vec<Finding>, message: String) {
    findings.push(Finding {
        reason: Reason::UnsupportedAnnotation,
        message,
    });
}

fn list(names: &[&str]) -> String {
    let mut text = names[..names.len().min(MAX_NAMED)].join(", ");
    if names.len() > MAX_NAMED {
        text.push_str(&format!(" and {} more", names.len() - MAX_NAMED));
    }
    text
}

/// Values that ask for what happens anyway.
fn is_inert(name: &str, value: &str) -> bool {
    match name {
        "backend-protocol" => value.eq_ignore_ascii_case("HTTP"),
        "canary"
        | "enable-cors"
        | "enable-modsecurity"
        | "from-to-www-redirect"
        | "ssl-passthrough"
        | "use-regex" => parse_bool(value) == Some(false),
        "limit-connections" => value == "0",
        _ => value.is_empty(),
    }
}

/// ModSecurity refuses nothing until its engine is switched from detecting to `On`.
fn blocks(snippet: &str) -> bool {
    let bare = |c: char| matches!(c, '"' | '\'' | '\\');
    let words = snippet
        .split_whitespace()
        .map(|word| word.trim_matches(bare));
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.windows(2).any(|pair| {
        pair[0].eq_ignore_ascii_case("SecRuleEngine") && pair[1].eq_ignore_ascii_case("On")
    })
}

const SUPPORTED: [&str; 24] = [
    "affinity",
    "affinity-mode",
    "force-ssl-redirect",
    "limit-allowlist",
    "limit-burst-multiplier",
    "limit-rpm",
    "limit-rps",
    "limit-whitelist",
    "preserve-trailing-slash",
    "proxy-body-size",
    "proxy-connect-timeout",
    "proxy-read-timeout",
    "proxy-send-timeout",
    "session-cookie-change-on-failure",
    "session-cookie-domain",
    "session-cookie-expires",
    "session-cookie-max-age",
    "session-cookie-name",
    "session-cookie-path",
    "session-cookie-samesite",
    "session-cookie-secure",
    "ssl-redirect",
    // What nginx needed these for does not exist here: responses stream, HTTP/2 push is gone.
    "proxy-buffering",
    "http2-push-preload",
];

/// Annotations that are dead without one of these (`auth-secret` without `auth-type`, `auth-tls-*` without their
/// Secret, `proxy-ssl-*` without `backend-protocol`) change nothing in ingress-nginx either.
const DENYING: [&str; 19] = [
    "allowlist-source-range",
    "app-root",
    "auth-snippet",
    "auth-tls-secret",
    "auth-type",
    "auth-url",
    // Speaking plain HTTP where TLS is asked for would leak the request.
    "backend-protocol",
    "configuration-snippet",
    "denylist-source-range",
    "from-to-www-redirect",
    "limit-connections",
    "permanent-redirect",
    "rewrite-target",
    "server-snippet",
    "ssl-passthrough",
    "stream-snippet",
    "temporal-redirect",
    // The backend would answer for another virtual host.
    "upstream-vhost",
    "whitelist-source-range",
];

/// Names in one Event.
const MAX_NAMED: usize = 12;
