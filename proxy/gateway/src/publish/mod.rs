//! From specs to what workers see: compiled, linked to the registry, published whole.

pub(crate) mod bind;
pub(crate) mod ids;
pub(crate) mod limiter;
pub(crate) mod link;
pub(crate) mod listeners;
pub(crate) mod registry;
pub(crate) mod tls;
