//! The side that faces clients: bytes, heads, and what they are allowed to be.

pub(crate) mod accept;
pub(crate) mod connection;
pub(crate) mod framing;
pub(crate) mod handover;
pub(crate) mod head;
pub(crate) mod heads;
pub(crate) mod io;
pub(crate) mod stream;
