//! What a gateway is started with. Everything else arrives as specs.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// Fixed for the life of the process.
#[derive(Clone, Debug)]
pub struct Config {
    /// Worker threads; 0 means one per available core.
    pub workers: usize,
    /// Where `/healthz`, `/readyz` and `/metrics` answer; none serves no admin. Port 0 picks one.
    pub admin: Option<SocketAddr>,
    pub access_log: AccessLogTarget,
    /// Labels that every request series carries.
    pub identity: Identity,
    pub limits: Limits,
}

/// What one worker takes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Client connections; none is this worker's share of half of the process's descriptors. A full worker hands over to
    /// one that is not; when all are full they close idle connections first, then stop accepting.
    pub connections: Option<usize>,
    /// Connections to endpoints, idle ones too; none is this worker's share of half of the process's descriptors. Beyond
    /// it an idle one is closed for a new one, and when all are in use the answer is 503.
    pub upstream_connections: Option<usize>,
    /// How long a client may take nothing of a response that waits for it (nginx `send_timeout`): then an HTTP/1
    /// connection is closed, an HTTP/2 stream is reset.
    pub send_timeout: Duration,
}

/// Where access log lines go, if the global settings ask for any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLogTarget {
    Stdout,
    File(PathBuf),
}

/// ingress-nginx's constant labels: which controller this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub controller_namespace: String,
    pub controller_class: String,
    pub controller_pod: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: 0,
            admin: None,
            access_log: AccessLogTarget::Stdout,
            identity: Identity::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: None,
            upstream_connections: None,
            send_timeout: Duration::from_secs(60),
        }
    }
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            controller_namespace: "portcullis".to_owned(),
            controller_class: "portcullis.dev/ingress".to_owned(),
            controller_pod: "portcullis".to_owned(),
        }
    }
}
