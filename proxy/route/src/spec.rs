//! What a controller asks of the proxy: plain values, serialisable for the wire, compared by content.
//!
//! Specs are grouped in the units that are rebuilt and published whole: a listener, one host's routes, a backend, a
//! certificate, a TLS policy, the global settings. Nothing here refers to another unit except by name.

use std::{fmt, net::IpAddr, net::SocketAddr, sync::Arc};

use serde::{Deserialize, Serialize};

/// Everything one proxy serves. Units are shared, so that an unchanged one keeps its `Arc` across publications.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Specs {
    pub listeners: Vec<Arc<ListenerSpec>>,
    pub hosts: Vec<Arc<HostRoutes>>,
    pub backends: Vec<Arc<BackendSpec>>,
    pub certificates: Vec<Arc<CertificateSpec>>,
    pub tls_policies: Vec<Arc<TlsPolicySpec>>,
    pub global: Arc<GlobalSpec>,
}

/// A socket that the proxy listens on. Several listeners may serve the same table (HTTP and HTTPS of one ingress).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerSpec {
    pub name: String,
    /// `::` listens dual-stack.
    pub address: IpAddr,
    pub port: u16,
    /// Port that clients use where something in front maps it (a Service), as `X-Forwarded-Port` shows it; `port` if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_port: Option<u16>,
    pub protocol: ListenerProtocol,
    /// The set of hosts that this listener serves: the `table` of [`HostRoutes`].
    pub table: String,
    /// Name of a [`TlsPolicySpec`]; required for HTTPS.
    pub tls_policy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListenerProtocol {
    Http,
    Https,
}

/// All routes of one host in one table: the unit of rebuilding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostRoutes {
    pub table: String,
    pub host: HostMatch,
    /// In any order: precedence is decided when the table is compiled.
    pub routes: Vec<RouteSpec>,
}

/// A DNS name in lower case, without a trailing dot or a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hostname(String);

/// Which request hosts a set of routes answers. Exact beats wildcard, wildcard beats any.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HostMatch {
    Exact(Hostname),
    /// `*.example.com` holds `example.com`: exactly one more label (Ingress, RFC 6125 6.4.3).
    Wildcard(Hostname),
    /// Every host, known or not.
    Any,
}

/// One route: what it matches and what happens then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteSpec {
    /// Stable across changes of everything but the route's own identity: state in the registry is keyed by it.
    pub id: String,
    /// What logs, metrics and `explain` call it.
    pub labels: RouteLabels,
    pub matches: RouteMatch,
    /// Among matches of equal precedence the lower rank wins ("the oldest Ingress first").
    pub rank: u32,
    pub action: RouteAction,
}

/// ingress-nginx's names for the parts of a route, as metrics and access log show them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RouteLabels {
    pub namespace: String,
    pub ingress: String,
    pub service: String,
    /// Number or name, as the Ingress has it.
    pub service_port: String,
    /// The path of the rule, not of the request.
    pub path: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteMatch {
    pub path: PathMatch,
    /// Upper-case method; none matches all.
    pub method: Option<String>,
    pub headers: Vec<NameValueMatch>,
    pub query: Vec<NameValueMatch>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PathMatch {
    Exact(String),
    /// By segments: `/foo` matches `/foo` and `/foo/bar`, never `/foobar` (Ingress pathType Prefix).
    Prefix(String),
    /// By characters: `/foo` matches `/foobar` (nginx's plain location; Ingress pathType ImplementationSpecific).
    PlainPrefix(String),
    /// Linear-time regular expression, anchored at the start only.
    Regex {
        pattern: String,
        case_insensitive: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameValueMatch {
    pub name: String,
    pub value: ValueMatch,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ValueMatch {
    Exact(String),
    Regex(String),
}

/// There is no way to say "serve without the declared policy": what could not be resolved is a denial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RouteAction {
    /// Steps in any order: they are sorted into phases when compiled. Exactly one of them is content
    /// ([`StepSpec::Forward`] or [`StepSpec::Respond`]).
    Serve(Vec<StepSpec>),
    Deny(Denial),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// HTTP status, 503 where ingress-nginx denies a location.
    pub status: u16,
    /// For people: what could not be resolved, naming the object.
    pub reason: String,
}

/// A policy of a route. Phase order is [`StepSpec::phase`], as nginx runs them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StepSpec {
    RedirectToHttps(RedirectToHttps),
    LimitRate(RateLimit),
    Respond(FixedResponse),
    Forward(Forward),
}

/// nginx's phases, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Rewrite,
    Limit,
    Access,
    Authenticate,
    Content,
    Response,
}

/// Plain-HTTP requests are sent to `https://` with the same host (port removed) and URI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedirectToHttps {
    /// 301, 302, 307 or 308.
    pub status: u16,
    /// Named in `Location` unless 443.
    pub port: u16,
    /// ingress-nginx drops one trailing `/` of the URI unless told otherwise.
    pub keep_trailing_slash: bool,
    /// Path prefixes that are served in plain text (ACME's challenges).
    pub except_prefixes: Vec<String>,
}

/// Requests per interval and key, with a burst, as nginx's `limit_req` counts with `nodelay`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RateLimit {
    /// Routes that name the same limit share its buckets.
    pub name: String,
    pub key: LimitKey,
    /// Requests per interval, at least 1.
    pub requests: u32,
    /// 1 or 60 seconds.
    pub interval_seconds: u32,
    /// Requests above the rate that are let through at once.
    pub burst: u32,
    /// Status of a refusal: 503 unless configured (`limit-req-status-code`).
    pub status: u16,
    /// Clients that are never limited, as CIDR text.
    pub exempt: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LimitKey {
    ClientIp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedResponse {
    pub status: u16,
    pub content_type: String,
    pub body: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// Name of a [`BackendSpec`].
    pub backend: String,
    pub affinity: Option<CookieAffinity>,
    pub timeouts: ForwardTimeouts,
    /// Largest request body in bytes; 0 is unlimited (`proxy-body-size`).
    pub max_request_body_bytes: u64,
}

/// `affinity: cookie` of ingress-nginx: the cookie's name and attributes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CookieAffinity {
    pub name: String,
    pub path: String,
    pub domain: Option<String>,
    /// Seconds; none makes a session cookie.
    pub max_age_seconds: Option<i64>,
    pub expires_seconds: Option<i64>,
    /// None: `Secure` exactly when the request came by HTTPS.
    pub secure: Option<bool>,
    pub same_site: Option<String>,
    pub change_on_failure: bool,
    /// `persistent` keeps a client on its endpoint when endpoints are added.
    pub persistent: bool,
}

/// Milliseconds. Defaults are ingress-nginx's: 5 s, 60 s, 60 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardTimeouts {
    pub connect_ms: u64,
    pub read_ms: u64,
    pub send_ms: u64,
}

/// Where requests go: one Service port with its endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendSpec {
    /// `namespace/service/port`: unlike ingress-nginx's name with dashes, no two Services share it.
    pub name: String,
    pub protocol: BackendProtocol,
    /// Sorted by address. Empty answers 503.
    pub endpoints: Vec<EndpointSpec>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BackendProtocol {
    Http,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EndpointSpec {
    pub address: SocketAddr,
    pub state: EndpointState,
}

/// Terminating endpoints serve only when nothing is ready (KEP-1669).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EndpointState {
    Ready,
    Terminating,
}

/// A certificate chain with its key and the names that it is served for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateSpec {
    /// `namespace/secret`.
    pub name: String,
    /// SNI names, decided by the controller (first Ingress wins); `Any` marks the default certificate.
    pub server_names: Vec<HostMatch>,
    /// DER, leaf first.
    pub chain: Vec<Vec<u8>>,
    pub key: PrivateKey,
}

/// PKCS#8, PKCS#1 or SEC1 key in DER. It has no content in `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PrivateKey(pub Vec<u8>);

/// How TLS is spoken on listeners: one rustls configuration each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsPolicySpec {
    pub name: String,
    pub min_version: TlsVersion,
    pub http2: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

/// Settings of the whole proxy: what ingress-nginx reads from its ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlobalSpec {
    /// Milliseconds an idle client connection is kept (`keep-alive`).
    pub keep_alive_timeout_ms: u64,
    /// Milliseconds from the first byte of a head to its end (`client-header-timeout`).
    pub client_header_timeout_ms: u64,
    /// Milliseconds an idle upstream connection is kept (`upstream-keepalive-timeout`).
    pub upstream_keepalive_timeout_ms: u64,
    /// Idle upstream connections kept per endpoint and core.
    pub upstream_keepalive_connections: u32,
    /// `Strict-Transport-Security` on HTTPS responses; none sends no header.
    pub hsts: Option<String>,
    /// Trust and extend `X-Forwarded-*` of clients (`use-forwarded-headers`).
    pub use_forwarded_headers: bool,
    pub access_log: bool,
}

impl Hostname {
    /// Lower-cases and checks a DNS name (RFC 1123 labels, 253 characters); a trailing dot is dropped.
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let label = |l: &str| {
            (1..=63).contains(&l.len())
                && l.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !l.starts_with('-')
                && !l.ends_with('-')
        };
        (name.len() <= MAX_HOSTNAME_BYTES && name.split('.').all(label)).then_some(Self(name))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl HostMatch {
    /// `*.example.com` is a wildcard, the empty string is any host (an Ingress rule without host).
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::Any);
        }
        match text.strip_prefix("*.") {
            Some(suffix) => Hostname::parse(suffix).map(Self::Wildcard),
            None => Hostname::parse(text).map(Self::Exact),
        }
    }
}

impl StepSpec {
    pub fn phase(&self) -> Phase {
        match self {
            Self::RedirectToHttps(_) => Phase::Rewrite,
            Self::LimitRate(_) => Phase::Limit,
            Self::Respond(_) | Self::Forward(_) => Phase::Content,
        }
    }

    /// The feature number a proxy must know to run this step; one that does not denies the route.
    pub fn required_feature(&self) -> u32 {
        match self {
            Self::RedirectToHttps(_) | Self::LimitRate(_) | Self::Respond(_) | Self::Forward(_) => {
                1
            }
        }
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for HostMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => write!(f, "{name}"),
            Self::Wildcard(suffix) => write!(f, "*.{suffix}"),
            Self::Any => f.write_str("_"),
        }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

impl Default for ForwardTimeouts {
    fn default() -> Self {
        Self {
            connect_ms: 5_000,
            read_ms: 60_000,
            send_ms: 60_000,
        }
    }
}

impl Default for GlobalSpec {
    fn default() -> Self {
        Self {
            keep_alive_timeout_ms: 75_000,
            client_header_timeout_ms: 60_000,
            upstream_keepalive_timeout_ms: 60_000,
            upstream_keepalive_connections: 320,
            hsts: Some("max-age=31536000; includeSubDomains".to_owned()),
            use_forwarded_headers: false,
            access_log: true,
        }
    }
}

/// RFC 1035 2.3.4, without the root label.
const MAX_HOSTNAME_BYTES: usize = 253;
