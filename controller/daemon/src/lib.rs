//! The ingress controller's shell: watches, publishing, statuses, events, leadership.
//!
//! *Owns* the connections to the API server and to the proxies, time, and the one task that holds the translator.
//! *Does not own* what objects mean (the translate crate), the format of the wire, or serving of requests.
//! *Entry point*: [`start`], then [`Running::specs`] for a proxy in this process or [`Running::serve_proxies`] for
//! proxies in others.
//!
//! Nothing is published before every watch has finished its first list: a proxy would take the missing half for
//! deleted.

mod admin;
mod config;
mod leader;
mod link;
mod proxies;
mod publish;
mod recorder;
mod running;
mod status;
mod watch;

pub use config::{Config, Election, LinkSecret, Pod, ProxyPods};
pub use portcullis_route::spec::GlobalSpec;
pub use portcullis_translate::{Address, NodeAddresses, ObjectKey, Settings, Unsupported};
pub use running::{Running, StartError, start};
