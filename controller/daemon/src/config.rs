//! What the command decides; ingress-nginx's flags where they have a meaning here.

use std::time::Duration;

use portcullis_pki::MutualRequest;
use portcullis_translate::{ObjectKey, Settings};

#[derive(Clone, Debug)]
pub struct Config {
    /// Flags that change what objects mean.
    pub settings: Settings,
    /// `--watch-namespace`; empty watches all. IngressClasses are cluster-wide and watched in any case.
    pub watch_namespaces: Vec<String>,
    /// Namespaces whose Secrets are watched; empty takes those of everything else. A certificate in another namespace is
    /// as good as missing.
    pub secret_namespaces: Vec<String>,
    /// Who writes statuses and Events. None writes without asking (`--disable-leader-election`).
    pub election: Option<Election>,
    /// `--update-status`.
    pub update_status: bool,
    /// `--update-status-on-shutdown`: empty the statuses when the last controller leaves.
    pub update_status_on_shutdown: bool,
    /// This controller's Pod, by whose labels the other controllers are found. Without it this controller is alone
    /// if there is no election, and never the last one if there is.
    pub pod: Option<Pod>,
    /// The proxies' Pods, watched where the addresses of their nodes are published ([`Settings::publish_nodes`]).
    pub proxies: Option<ProxyPods>,
    /// Where the certificates of controllers and proxies are kept; without it they are given
    /// ([`crate::Running::serve_proxies`]).
    pub link: Option<LinkSecret>,
    /// Shortest time between two publications. A change after a quiet time is published at once.
    pub pace: Duration,
}

#[derive(Clone, Debug)]
pub struct Election {
    /// `--election-id`: name of the Lease.
    pub lease: String,
    pub namespace: String,
    /// Who holds it: the Pod's name, unique among the controllers.
    pub identity: String,
    /// `--election-ttl`: after this time without renewal another may lead.
    pub ttl: Duration,
}

/// The Secret that proxies mount: `tls.crt`, `tls.key`, `ca.crt`. Beside it is one with the controllers' own, named
/// alike with `-controller` at its end. The leader makes and renews both.
#[derive(Clone, Debug)]
pub struct LinkSecret {
    pub secret: ObjectKey,
    pub request: MutualRequest,
}

#[derive(Clone, Debug)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
}

#[derive(Clone, Debug)]
pub struct ProxyPods {
    pub namespace: String,
    /// A label selector.
    pub labels: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            watch_namespaces: Vec::new(),
            secret_namespaces: Vec::new(),
            election: None,
            update_status: true,
            update_status_on_shutdown: true,
            pod: None,
            proxies: None,
            link: None,
            pace: DEFAULT_PACE,
        }
    }
}

impl Election {
    /// ingress-nginx's name; a shorter time, so that another leads within 15 s: its 30 s would take 45 at worst.
    pub fn new(namespace: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            lease: "ingress-controller-leader".to_owned(),
            namespace: namespace.into(),
            identity: identity.into(),
            ttl: Duration::from_secs(10),
        }
    }
}

/// Bursts of changes (a rollout) are taken together, while one change alone is never held back.
const DEFAULT_PACE: Duration = Duration::from_millis(20);
