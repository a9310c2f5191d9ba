//! What does not come from watched objects: flags, and later the ConfigMap.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use portcullis_route::spec::{
    CertificateSpec, ForwardTimeouts, GlobalSpec, ListenerProtocol, ListenerSpec, TlsPolicySpec,
    TlsVersion,
};
use serde::Serialize;

use crate::object::ObjectKey;

#[derive(Clone, Debug)]
pub struct Settings {
    /// `--controller-class`: IngressClasses with this `spec.controller` are ours.
    pub controller_class: String,
    /// `--ingress-class`: value of the legacy annotation `kubernetes.io/ingress.class` that is ours.
    pub ingress_class: String,
    /// `--ingress-class-by-name`: an IngressClass named like `ingress_class` is ours whatever its controller.
    pub ingress_class_by_name: bool,
    /// `--watch-ingress-without-class`.
    pub watch_without_class: bool,
    /// `--disable-catch-all`: Ingresses may not claim every host.
    pub disable_catch_all: bool,
    /// `--default-backend-service`: answers for unknown hosts and paths instead of 404.
    pub default_backend: Option<ObjectKey>,
    /// `--default-ssl-certificate`: the Secret that is served when no certificate of an Ingress is usable.
    pub default_certificate: Option<ObjectKey>,
    /// Served when `default_certificate` is not set or not usable; its `server_names` are ignored.
    pub fallback_certificate: Option<Arc<CertificateSpec>>,
    pub listeners: Vec<Arc<ListenerSpec>>,
    pub tls_policies: Vec<Arc<TlsPolicySpec>>,
    pub global: Arc<GlobalSpec>,
    /// `--publish-status-address`; when empty `publish_service` is asked.
    pub publish_addresses: Vec<Address>,
    /// `--publish-service`: its addresses are published. When there is none, `publish_nodes` decides.
    pub publish_service: Option<ObjectKey>,
    /// Which addresses of the nodes that run ready proxies are published; none publishes no address.
    pub publish_nodes: Option<NodeAddresses>,
    /// `--annotations-prefix`.
    pub annotations_prefix: String,
    /// `--unsupported`.
    pub unsupported: Unsupported,
    /// `strict-validate-path-type`.
    pub strict_path_types: bool,
    /// `--deep-inspect`: refuse hosts and paths that look like injected nginx configuration.
    pub deep_inspect: bool,
    /// Port named in redirects to HTTPS: the one that clients use.
    pub https_port: u16,
    /// `health-check-path` on every unknown host.
    pub health_check_path: Option<String>,
    pub defaults: AnnotationDefaults,
}

/// An address as the status of an Ingress shows it. IP addresses sort first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Address {
    Ip(IpAddr),
    Hostname(String),
}

/// `--report-node-internal-ip-address`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeAddresses {
    /// External ones; of a node without, its internal ones.
    External,
    Internal,
}

/// What becomes of an Ingress with an annotation that restricts access and that is not supported yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// Its routes answer 503.
    Deny,
    /// It is served without the restriction: an explicit choice.
    Serve,
}

/// ConfigMap values that annotations override; ingress-nginx's defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct AnnotationDefaults {
    pub ssl_redirect: bool,
    pub force_ssl_redirect: bool,
    pub preserve_trailing_slash: bool,
    /// 301, 302, 307 or 308.
    pub http_redirect_code: u16,
    /// `no-tls-redirect-locations`: path prefixes.
    pub no_tls_redirect_prefixes: Vec<String>,
    pub timeouts: ForwardTimeouts,
    /// `proxy-body-size` in bytes; 0 is unlimited.
    pub max_request_body_bytes: u64,
    /// `limit-req-status-code`.
    pub limit_status: u16,
}

impl Settings {
    /// The name of the table that all Ingresses share.
    pub const TABLE: &'static str = "ingress";

    /// Whether anything says which addresses to publish.
    pub fn publishes(&self) -> bool {
        let elsewhere = self.publish_service.is_some() || self.publish_nodes.is_some();
        elsewhere || !self.publish_addresses.is_empty()
    }

    /// Replaces the listeners by one for HTTP and one for HTTPS on all addresses, IPv4 and IPv6.
    pub fn with_ports(mut self, http: u16, https: u16) -> Self {
        let listener = |name: &str, port, protocol, tls_policy: Option<&str>| {
            Arc::new(ListenerSpec {
                name: name.to_owned(),
                address: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                port,
                public_port: None,
                protocol,
                table: Self::TABLE.to_owned(),
                tls_policy: tls_policy.map(str::to_owned),
            })
        };
        self.listeners = vec![
            listener("http", http, ListenerProtocol::Http, None),
            listener("https", https, ListenerProtocol::Https, Some(TLS_POLICY)),
        ];
        self
    }

    /// Says which ports clients use where something in front of the listeners maps them.
    pub fn with_public_ports(mut self, http: u16, https: u16) -> Self {
        for listener in &mut self.listeners {
            let public = match listener.protocol {
                ListenerProtocol::Http => http,
                ListenerProtocol::Https => https,
            };
            let public = (public != listener.port).then_some(public);
            Arc::make_mut(listener).public_port = public;
        }
        self.https_port = https;
        self
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            controller_class: "portcullis.dev/ingress".to_owned(),
            ingress_class: "portcullis".to_owned(),
            ingress_class_by_name: false,
            watch_without_class: false,
            disable_catch_all: false,
            default_backend: None,
            default_certificate: None,
            fallback_certificate: None,
            listeners: Vec::new(),
            tls_policies: vec![Arc::new(TlsPolicySpec {
                name: TLS_POLICY.to_owned(),
                min_version: TlsVersion::Tls12,
                http2: true,
            })],
            global: Arc::new(GlobalSpec::default()),
            publish_addresses: Vec::new(),
            publish_service: None,
            publish_nodes: None,
            annotations_prefix: "nginx.ingress.kubernetes.io".to_owned(),
            unsupported: Unsupported::Deny,
            strict_path_types: true,
            deep_inspect: true,
            https_port: 443,
            health_check_path: Some("/healthz".to_owned()),
            defaults: AnnotationDefaults::default(),
        }
        .with_ports(80, 443)
    }
}

impl Default for AnnotationDefaults {
    fn default() -> Self {
        Self {
            ssl_redirect: true,
            force_ssl_redirect: false,
            preserve_trailing_slash: false,
            http_redirect_code: 308,
            no_tls_redirect_prefixes: vec!["/.well-known/acme-challenge".to_owned()],
            timeouts: ForwardTimeouts::default(),
            max_request_body_bytes: 1 << 20,
            limit_status: 503,
        }
    }
}

impl Address {
    /// An IP address where the text is one, else a host name, as `--publish-status-address` is read.
    pub fn parse(text: &str) -> Self {
        match text.parse() {
            Ok(ip) => Self::Ip(ip),
            Err(_) => Self::Hostname(text.to_owned()),
        }
    }
}

const TLS_POLICY: &str = "default";
