//! The server's settings.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::authz::AuthorizationMode;
use crate::cidr::Cidr;

/// What an API server needs to be told. Defaults are those of `portcullis up`.
pub struct Config {
    /// Services get their addresses here; the first one is the `kubernetes` Service's.
    pub service_cidr: Cidr,
    pub node_ports: RangeInclusive<u16>,
    /// Where the server is reached: the endpoint of the `kubernetes` Service. While unspecified there is none.
    pub advertise_address: Option<IpAddr>,
    pub authorization: AuthorizationMode,
    /// Issuer of ServiceAccount tokens, and an audience of those for this server.
    pub issuer: String,
    /// How long Events are kept.
    pub event_lifetime: Duration,
    /// Reads in progress at once, watches not counted; beyond it the answer is 429.
    pub max_reads: usize,
    /// Writes in progress at once; beyond it the answer is 429.
    pub max_writes: usize,
    /// For everything but watches and followed logs; beyond it the answer is 504.
    pub request_timeout: Duration,
    /// Between bookmarks of a quiet watch.
    pub bookmark_interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            service_cidr: "10.43.0.0/16".parse().expect("the constant is a network"),
            node_ports: 30_000..=32_767,
            advertise_address: None,
            authorization: AuthorizationMode::Rbac,
            issuer: "https://kubernetes.default.svc.cluster.local".to_owned(),
            event_lifetime: Duration::from_secs(3_600),
            // kube-apiserver's --max-requests-inflight and --max-mutating-requests-inflight.
            max_reads: 400,
            max_writes: 200,
            request_timeout: Duration::from_secs(60),
            bookmark_interval: Duration::from_secs(60),
        }
    }
}
