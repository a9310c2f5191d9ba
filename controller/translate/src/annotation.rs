//! Annotations as typed values: each is parsed once, here, and never reaches another parser as text.
//!
//! A limit that cannot be understood denies the routes of its Ingress; a timeout, a size or a switch falls back to its
//! default as in ingress-nginx. Both are told.

mod affinity;
mod limit;
mod unsupported;
mod value;

use std::collections::BTreeMap;

use portcullis_route::spec::{CookieAffinity, ForwardTimeouts, RateLimit};

use crate::{notice::Reason, settings::Settings};
use value::Reader;

/// What the annotations of one Ingress ask for, for all of its routes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Policy {
    pub ssl_redirect: bool,
    pub force_ssl_redirect: bool,
    pub preserve_trailing_slash: bool,
    pub limits: Vec<RateLimit>,
    /// Its path is empty unless the annotation names one: then it is the path of the rule.
    pub affinity: Option<CookieAffinity>,
    pub timeouts: ForwardTimeouts,
    pub max_request_body_bytes: u64,
    /// Why no route of the Ingress may be served: something that it asks for is not supported or not understood.
    pub denied: Option<String>,
    /// Paths are regular expressions: `use-regex`, or `rewrite-target`, which implies it.
    pub is_regex: bool,
    /// A canary adds no host and no path of its own.
    pub canary: bool,
}

/// Something to tell the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub reason: Reason,
    pub message: String,
}

/// Whose annotations they are: limits are counted per Ingress object.
pub(crate) struct Owner<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
    /// A path of it uses operators of regular expressions.
    pub has_patterns: bool,
}

/// Total: what cannot be had of it is a denial or a default, and a finding.
pub(crate) fn parse(
    annotations: &BTreeMap<String, String>,
    owner: &Owner<'_>,
    settings: &Settings,
    findings: &mut Vec<Finding>,
) -> Policy {
    let prefix = format!("{}/", settings.annotations_prefix);
    let values: BTreeMap<&str, &str> = annotations
        .iter()
        .filter_map(|(key, value)| Some((key.strip_prefix(&prefix)?, value.trim())))
        .collect();
    let defaults = &settings.defaults;
    let unsupported =
        unsupported::judge(&values, owner.has_patterns, settings.unsupported, findings);
    let mut denied = unsupported.denied;
    let limits = limit::parse(&values, owner, defaults.limit_status).unwrap_or_else(|sentence| {
        findings.push(Finding {
            reason: Reason::Rejected,
            message: sentence.clone(),
        });
        denied.get_or_insert(sentence);
        Vec::new()
    });
    let is_set = |name: &str| values.get(name).is_some_and(|value| !value.is_empty());
    let mut reader = Reader::new(&values, findings);
    Policy {
        ssl_redirect: reader.bool("ssl-redirect", defaults.ssl_redirect),
        force_ssl_redirect: reader.bool("force-ssl-redirect", defaults.force_ssl_redirect),
        preserve_trailing_slash: reader
            .bool("preserve-trailing-slash", defaults.preserve_trailing_slash),
        affinity: affinity::parse(&mut reader),
        timeouts: ForwardTimeouts {
            connect_ms: reader.seconds_as_ms("proxy-connect-timeout", defaults.timeouts.connect_ms),
            read_ms: reader.seconds_as_ms("proxy-read-timeout", defaults.timeouts.read_ms),
            send_ms: reader.seconds_as_ms("proxy-send-timeout", defaults.timeouts.send_ms),
        },
        max_request_body_bytes: reader
            .size_in_bytes("proxy-body-size", defaults.max_request_body_bytes),
        limits,
        denied,
        is_regex: is_set("rewrite-target") || reader.bool("use-regex", false),
        canary: unsupported.canary,
    }
}

impl Policy {
    /// What an Ingress without annotations has.
    pub(crate) fn from_defaults(settings: &Settings) -> Self {
        let defaults = &settings.defaults;
        Self {
            ssl_redirect: defaults.ssl_redirect,
            force_ssl_redirect: defaults.force_ssl_redirect,
            preserve_trailing_slash: defaults.preserve_trailing_slash,
            limits: Vec::new(),
            affinity: None,
            timeouts: defaults.timeouts,
            max_request_body_bytes: defaults.max_request_body_bytes,
            denied: None,
            is_regex: false,
            canary: false,
        }
    }
}
