//! The control plane's loops as ordinary API clients: workload controllers, garbage collection, the scheduler.
//!
//! *Owns*: watches (one per kind, shared by all controllers), work queues with per-key retry, the executor of plans, the
//! recorder of Events, and the composition of all of them.
//! *Does not own*: decisions, which are pure and live in `reconcile` and `schedule`; the API server; the node.
//! *Entry points*: [`run`] (controllers), [`run_scheduler`], [`run_all`] (both over the same watches).

mod actor;
mod clock;
mod collect;
mod compose;
mod controllers;
mod execute;
mod informer;
mod queue;
mod recorder;
mod scheduler;

pub use compose::{Clients, Config, run, run_all, run_scheduler};

#[cfg(test)]
mod tests;
