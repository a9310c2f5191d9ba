//! Columns per kind, as upstream's server sends them (it always makes the wide form; priority 1 is shown with `-o wide`).

pub(crate) mod core;
pub(crate) mod event;
pub(crate) mod ingress;
pub(crate) mod node;
pub(crate) mod pod;
pub(crate) mod rbac;
pub(crate) mod service;
pub(crate) mod volume;
pub(crate) mod workload;
