//! Pure controllers: what is observed goes in, a [`Plan`] comes out.
//!
//! *Owns*: every decision of the workload, endpoint, load balancer, namespace, garbage, node, role and default-object
//! controllers, and the bookkeeping ([`expectations`]) that keeps a stale cache from being acted on twice.
//! *Does not own*: watches, queues, API calls, the clock. `now` is an argument, names are made by the API server.
//! *Entry point*: one `plan(&observed, now) -> Plan` per module.

pub mod clusterrole;
pub mod deployment;
pub mod endpointslice;
pub mod expectations;
pub mod garbage;
pub mod loadbalancer;
pub mod namespace;
pub mod node;
pub mod owner;
pub mod plan;
pub mod pod;
pub mod podgc;
pub mod replicaset;
pub mod rootca;
pub mod selector;
pub mod serviceaccount;

#[cfg(test)]
mod cases;
#[cfg(test)]
mod simulation;

pub use plan::{Action, Note, Object, Plan, Propagation, Resource, Severity, Target};
