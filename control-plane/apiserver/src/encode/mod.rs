//! Answers: which form the client wants, and putting it on the wire.

mod negotiate;
mod reply;

pub(crate) use negotiate::{Format, Negotiated, Shape, discovery_version, negotiate};
pub(crate) use reply::{bytes, error, raw, send, send_list, with_warnings};
