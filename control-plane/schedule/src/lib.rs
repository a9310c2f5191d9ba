//! Pure scheduling: which node a pod goes to, and why not to the others.
//!
//! *Owns*: the picture of nodes and what is placed on them ([`Cluster`], which is also the assume cache), filters, scores,
//! and the message for a pod that fits nowhere.
//! *Does not own*: queues, watches, binding, the clock, randomness (the tie-breaker is an argument).
//! *Entry point*: [`Cluster::decide`].

mod affinity;
mod cluster;
mod decide;
mod filter;
mod footprint;
mod quantity;
mod score;
mod taint;

pub use cluster::{Cluster, NodeState};
pub use decide::{Decision, Refusal};
pub use footprint::{Footprint, HostPort, Resources};
pub use quantity::{Quantity, QuantityError};

#[cfg(test)]
mod tests;
