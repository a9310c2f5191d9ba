//! What the gateway says about itself: metrics, access log, admin endpoints.

pub(crate) mod access_log;
pub(crate) mod admin;
pub(crate) mod counters;
pub(crate) mod exposition;
pub(crate) mod metrics;
pub(crate) mod process;
