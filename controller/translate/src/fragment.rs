//! One Ingress, read once: its rules, certificates and policy, without a look at any other object but its class.

use std::{cmp::Reverse, collections::BTreeSet, sync::Arc};

use k8s_openapi::{
    api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend, IngressSpec},
    jiff::Timestamp,
};
use portcullis_route::spec::{HostMatch, PathMatch};

use crate::{
    annotation::{self, Finding, Owner, Policy},
    class::Claim,
    notice::{Notice, Reason, Severity},
    object::ObjectKey,
    settings::Settings,
};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fragment {
    pub key: ObjectKey,
    pub uid: String,
    pub generation: i64,
    pub precedence: Precedence,
    pub policy: Policy,
    pub rules: Vec<Rule>,
    pub default_backend: Option<Target>,
    pub tls: Vec<Tls>,
    /// Ours: its status is written, whether anything of it is served or not.
    pub ours: bool,
    pub notices: Arc<[Notice]>,
}

/// The oldest Ingress first; of two made in the same second the one whose name sorts last, as ingress-nginx does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Precedence {
    created: Timestamp,
    name: Reverse<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rule {
    pub host: HostMatch,
    pub paths: Vec<PathRule>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PathRule {
    pub path: PathMatch,
    /// As the Ingress has it.
    pub text: String,
    pub target: Target,
}

/// Where a path leads, before it is known whether that exists.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Target {
    Service {
        name: String,
        port: String,
    },
    /// A kind of backend that is not supported, as a sentence.
    Refused(String),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tls {
    /// Lower case.
    pub hosts: Vec<String>,
    pub secret: Option<String>,
}

impl Fragment {
    /// None for an Ingress that is somebody else's.
    pub(crate) fn build(ingress: &Ingress, claim: Claim, settings: &Settings) -> Option<Self> {
        let mut fragment = Self::empty(ingress, settings);
        let mut findings = Vec::new();
        match claim {
            Claim::NotOurs => return None,
            Claim::ClassMissing(class) => findings.push(Finding {
                reason: Reason::IngressClassNotFound,
                message: format!("IngressClass {class} does not exist"),
            }),
            Claim::Ours => {
                fragment.ours = true;
                fragment.fill(ingress, settings, &mut findings);
            }
        }
        fragment.notices = fragment.notices_of(findings);
        Some(fragment)
    }

    /// The hosts whose routes this Ingress has a part in.
    pub(crate) fn hosts(&self) -> BTreeSet<HostMatch> {
        let mut hosts: BTreeSet<HostMatch> =
            self.rules.iter().map(|rule| rule.host.clone()).collect();
        if self.is_catch_all() {
            hosts.insert(HostMatch::Any);
        }
        hosts
    }

    /// A default backend and no rules: it answers for every unknown host.
    pub(crate) fn is_catch_all(&self) -> bool {
        self.rules.is_empty() && self.default_backend.is_some()
    }

    pub(crate) fn warning(&self, reason: Reason, message: String) -> Notice {
        self.notice(Severity::Warning, reason, message)
    }

    fn empty(ingress: &Ingress, settings: &Settings) -> Self {
        let key = ObjectKey::of(&ingress.metadata);
        let created = ingress.metadata.creation_timestamp.as_ref();
        Self {
            precedence: Precedence {
                created: created.map_or(Timestamp::UNIX_EPOCH, |time| time.0),
                name: Reverse(key.to_string()),
            },
            key,
            uid: ingress.metadata.uid.clone().unwrap_or_default(),
            generation: ingress.metadata.generation.unwrap_or_default(),
            policy: Policy::from_defaults(settings),
            rules: Vec::new(),
            default_backend: None,
            tls: Vec::new(),
            ours: false,
            notices: Arc::from([]),
        }
    }

    fn fill(&mut self, ingress: &Ingress, settings: &Settings, findings: &mut Vec<Finding>) {
        let none = Default::default();
        let annotations = ingress.metadata.annotations.as_ref().unwrap_or(&none);
        let owner = Owner {
            namespace: &self.key.namespace,
            name: &self.key.name,
            uid: &self.uid,
            has_patterns: has_patterns(ingress),
        };
        self.policy = annotation::parse(annotations, &owner, settings, findings);
        if self.policy.canary {
            let sentence = "canary Ingresses are not supported yet: it gets no traffic";
            *findings = vec![rejected(sentence.to_owned())];
            return;
        }
        let Some(spec) = &ingress.spec else {
            return;
        };
        let mut refused = Vec::new();
        self.rules = rules(spec, settings, &mut refused);
        self.tls = tls(spec, settings, &mut refused);
        if let Some(sentence) = refused.first() {
            self.policy.denied.get_or_insert_with(|| sentence.clone());
        }
        findings.extend(refused.into_iter().map(rejected));
        if self.policy.denied.is_some() && self.policy.is_regex {
            self.deny_what_patterns_match();
        }
        self.default_backend = spec.default_backend.as_ref().map(target);
        if settings.disable_catch_all && self.hosts().contains(&HostMatch::Any) {
            self.rules.clear();
            self.default_backend = None;
            self.tls.clear();
            let sentence = "claims every host, which --disable-catch-all forbids";
            findings.push(rejected(sentence.to_owned()));
        }
    }

    /// The expressions of ingress-nginx hold for all paths of an Ingress, whatever the path type.
    fn deny_what_patterns_match(&mut self) {
        let paths = self.rules.iter_mut().flat_map(|rule| &mut rule.paths);
        for path in paths {
            path.path = all_that_matches(&path.text);
        }
    }

    fn notices_of(&self, findings: Vec<Finding>) -> Arc<[Notice]> {
        let mut notices: Vec<Notice> = findings
            .into_iter()
            .map(|finding| self.warning(finding.reason, finding.message))
            .collect();
        let rejected = |notice: &Notice| notice.reason == Reason::Rejected;
        if self.ours && !notices.iter().any(rejected) {
            let sync = "Scheduled for sync".to_owned();
            notices.push(self.notice(Severity::Normal, Reason::Sync, sync));
        }
        notices.into()
    }

    fn notice(&self, severity: Severity, reason: Reason, message: String) -> Notice {
        Notice {
            ingress: self.key.clone(),
            uid: self.uid.clone(),
            severity,
            reason,
            message,
            generation: self.generation,
        }
    }
}

fn rejected(sentence: String) -> Finding {
    Finding {
        reason: Reason::Rejected,
        message: sentence,
    }
}

/// Every rule that a request can meet, those of an Ingress that is refused too: it keeps what it claims, so that nothing
/// of it falls through to the routes of others.
fn rules(spec: &IngressSpec, settings: &Settings, refused: &mut Vec<String>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for rule in spec.rules.iter().flatten() {
        let text = rule.host.as_deref().unwrap_or_default();
        refused.extend(inspect("host", text, settings));
        let Some(host) = HostMatch::parse(text) else {
            refused.push(format!("host {text:?} is not a name"));
            continue;
        };
        let paths = rule.http.iter().flat_map(|http| &http.paths);
        let paths = paths.filter_map(|path| path_rule(path, settings, refused));
        rules.push(Rule {
            host,
            paths: paths.collect(),
        });
    }
    rules
}

/// None for a path that no request has.
fn path_rule(
    path: &HTTPIngressPath,
    settings: &Settings,
    refused: &mut Vec<String>,
) -> Option<PathRule> {
    let text = match path.path.as_deref() {
        None | Some("") => "/",
        Some(text) => text,
    };
    refused.extend(inspect("path", text, settings));
    if !text.starts_with('/') {
        refused.push(format!("path {text:?} does not start with /"));
        return None;
    }
    let strict = settings.strict_path_types && !text.bytes().all(is_plain);
    let matched = match path.path_type.as_str() {
        "Exact" | "Prefix" if strict => {
            refused.push(format!(
                "path {text:?} cannot be used with pathType {}: only letters, digits and -._/ can",
                path.path_type
            ));
            all_that_matches(text)
        }
        "Exact" => PathMatch::Exact(text.to_owned()),
        "Prefix" => PathMatch::Prefix(segments(text)),
        "ImplementationSpecific" => PathMatch::PlainPrefix(text.to_owned()),
        other => {
            refused.push(format!("pathType {other:?} is unknown"));
            PathMatch::PlainPrefix(text.to_owned())
        }
    };
    Some(PathRule {
        path: matched,
        text: text.to_owned(),
        target: target(&path.backend),
    })
}

/// For a denial: all that a path may have been meant to match. As ingress-nginx reads an expression, it ignores case and
/// is open at the end.
fn all_that_matches(text: &str) -> PathMatch {
    let pattern = text.to_owned();
    match pattern.bytes().all(is_caseless_literal) {
        // The same as an expression, but longer paths of others stay before it.
        true => PathMatch::PlainPrefix(pattern),
        false => PathMatch::Regex {
            pattern,
            case_insensitive: true,
        },
    }
}

/// A prefix is compared by segments, so its trailing slash means nothing.
fn segments(path: &str) -> String {
    match path.trim_end_matches('/') {
        "" => "/".to_owned(),
        trimmed => trimmed.to_owned(),
    }
}

fn has_patterns(ingress: &Ingress) -> bool {
    let spec = ingress.spec.iter();
    let rules = spec.flat_map(|spec| spec.rules.iter().flatten());
    let paths = rules.flat_map(|rule| rule.http.iter().flat_map(|http| &http.paths));
    let mut texts = paths.filter_map(|path| path.path.as_deref());
    texts.any(|text| text.contains(REGEX_OPERATORS))
}

fn is_caseless_literal(byte: u8) -> bool {
    byte.is_ascii_digit() || b"-_/".contains(&byte)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._/".contains(&byte)
}

fn target(backend: &IngressBackend) -> Target {
    if let Some(resource) = &backend.resource {
        return Target::Refused(format!(
            "resource backend {} {} is not supported: only Services are",
            resource.kind, resource.name
        ));
    }
    let Some(service) = &backend.service else {
        return Target::Refused("the backend names neither a Service nor a resource".to_owned());
    };
    let port = service.port.as_ref().and_then(|port| match &port.name {
        Some(name) if !name.is_empty() => Some(name.clone()),
        _ => port.number.map(|number| number.to_string()),
    });
    match port {
        Some(port) => Target::Service {
            name: service.name.clone(),
            port,
        },
        None => Target::Refused(format!("backend Service {} has no port", service.name)),
    }
}

fn tls(spec: &IngressSpec, settings: &Settings, refused: &mut Vec<String>) -> Vec<Tls> {
    let mut entries = Vec::new();
    for entry in spec.tls.iter().flatten() {
        for host in entry.hosts.iter().flatten() {
            refused.extend(inspect("TLS host", host, settings));
        }
        let hosts = entry.hosts.iter().flatten();
        entries.push(Tls {
            hosts: hosts.map(|host| host.to_ascii_lowercase()).collect(),
            secret: entry.secret_name.clone().filter(|name| !name.is_empty()),
        });
    }
    entries
}

/// ingress-nginx's deep inspection: nothing here is ever a template, but an object that tries is not served.
fn inspect(what: &str, text: &str, settings: &Settings) -> Option<String> {
    if !settings.deep_inspect {
        return None;
    }
    let lower = text.to_ascii_lowercase();
    let found = INJECTIONS.iter().find(|pattern| lower.contains(*pattern));
    found.map(|pattern| format!("{what} contains {pattern:?}, which is not allowed"))
}

/// Without the dot, which stands in plain paths too.
const REGEX_OPERATORS: [char; 13] = [
    '\\', '^', '$', '*', '+', '?', '(', ')', '[', ']', '{', '}', '|',
];

const INJECTIONS: [&str; 9] = [
    "alias ",
    "root ",
    "/etc/passwd",
    "/etc/shadow",
    "/etc/group",
    "/etc/nginx",
    "/etc/ingress-controller",
    "/var/run/secrets",
    "_by_lua",
];
