//! Writes as pure functions: from a decoded request and the stored object to what shall be stored.
//!
//! Defaulting, admission that needs no look-ups, the kind's strategy and validation happen here; identity, time and
//! allocations are in [`WriteContext`]. The store assigns `metadata.resourceVersion`.

mod admit;
mod create;
mod delete;
mod metadata;
mod scale;
mod service;
#[cfg(test)]
mod tests;
mod update;

pub use create::create;
pub use delete::delete;
pub use scale::{scale_of, update_scale};
pub use service::service_need;
pub use update::{bind, update};

use jiff::Timestamp;
use serde_json::Value;

/// What a write takes from outside.
#[derive(Debug, Clone)]
pub struct WriteContext<'a> {
    pub now: Timestamp,
    /// For a new object.
    pub uid: &'a str,
    /// Five characters for `generateName`; the caller tries again with others when the name is taken.
    pub name_suffix: &'a str,
    /// The name in the path; empty where the path has none (create).
    pub name: &'a str,
    pub user: &'a str,
    /// Taken by an Ingress without a class.
    pub default_ingress_class: Option<&'a str>,
    /// What the server took from its pools after [`service_need`].
    pub allocated: Allocated,
}

/// Addresses and ports the server reserved for one Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allocated {
    pub cluster_ips: Vec<std::net::IpAddr>,
    pub node_ports: Vec<u16>,
}

/// What a Service still needs from the server's pools, and what it names itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceNeed {
    /// Families the request names: each is one of the cluster's or the answer is 422.
    pub families: Vec<IpFamily>,
    /// Two families or 422 (`ipFamilyPolicy: RequireDualStack`).
    pub dual_stack: bool,
    /// Families to take an address of, in order.
    pub cluster_ips: Vec<IpFamily>,
    /// How many free node ports to take; the health check's is among them, the last.
    pub node_ports: usize,
    /// Addresses the request names: reserve these or answer 422.
    pub named_ips: Vec<std::net::IpAddr>,
    pub named_node_ports: Vec<NamedPort>,
}

/// A node port that the request names, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPort {
    pub field: String,
    pub port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpFamily {
    /// The cluster's first family.
    Primary,
    V4,
    V6,
}

/// What an update comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Updated {
    /// Nothing to store: answer with the stored object.
    Unchanged(Value),
    Write(Value),
    /// The last finalizer of a deleted object is gone: remove it, answer with this.
    Remove(Value),
}

#[derive(Debug, Clone, PartialEq)]
pub enum DeleteDecision {
    /// Remove it now; answer with a Status (or this last state).
    Remove(Value),
    /// It lives on with a deletionTimestamp: store and answer with it.
    MarkDeleting(Value),
    /// Already on its way: answer with the stored object.
    Unchanged(Value),
}

/// `meta/v1 DeleteOptions`, as far as it matters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    pub grace_period_s: Option<i64>,
    pub propagation: Option<Propagation>,
    pub precondition_uid: Option<String>,
    pub precondition_resource_version: Option<String>,
    pub dry_run: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    Orphan,
    Background,
    Foreground,
}
