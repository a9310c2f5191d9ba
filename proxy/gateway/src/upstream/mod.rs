//! The side that faces backends: which endpoint, which connection, what is sent.

pub(crate) mod affinity;
pub(crate) mod forward;
pub(crate) mod pick;
pub(crate) mod pool;
pub(crate) mod socket;
