//! Pure translation of Kubernetes objects into route specs, statuses and events.
//!
//! *Owns* what an Ingress means here: classes, precedence, paths, backends, endpoints, certificates, annotations, and
//! what its owner is told when something in it cannot be served.
//! *Does not own* watches, time, writing of statuses and events, or how routes are matched.
//! *Entry point*: [`Translator::apply`] takes what the watches say, [`Translator::translate`] returns the
//! [`Translation`]; [`translate`] does the same from nothing, as the incremental engine's naive twin.
//!
//! Work is done in units (one Ingress's fragment, one host's routes, one backend, one certificate): a unit is rebuilt
//! whole when something it looked at has changed, compared by content, and keeps its `Arc` when nothing came of it.

mod annotation;
mod backend;
mod certificate;
mod class;
mod engine;
mod fragment;
mod host;
mod notice;
mod object;
mod peer;
mod settings;
mod snapshot;
mod status;

pub use engine::{Translation, Translator, translate};
pub use notice::{Notice, Reason, Severity};
pub use object::{Change, Kind, Object, ObjectKey, ObjectRef};
pub use peer::{is_peer, peer_selector};
pub use settings::{Address, AnnotationDefaults, NodeAddresses, Settings, Unsupported};
pub use snapshot::Snapshot;
pub use status::StatusChange;

#[cfg(test)]
mod tests;
