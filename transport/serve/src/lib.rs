//! What every server in the house shares: listening sockets, accept loops, TLS, HTTP limits, drain.
//!
//! *Owns*: binding, surviving accept errors, the TLS handshake with its time limit, serving HTTP/1.1 and HTTP/2 over one
//! connection under [`Limits`], telling the service who the peer is, ending everything in order with [`Drain`], and the
//! process's limit of open files.
//! *Does not own*: routing, authorization, bodies, the gateway's per-core workers (which use [`bind`] and [`tls`] only).
//! *Entry point*: [`listen`], then [`serve`].
//!
//! A connection is idle only while no response is being produced or sent, so a watch that is silent for an hour is not
//! cut. Services with endless responses watch [`Drain::signalled`] and end them; a drain waits for the rest.

mod activity;
mod bind;
mod connection;
mod descriptors;
mod drain;
mod limits;
mod peer;
mod serve;
pub mod tls;

pub use bind::{BindError, BindOptions, bind, listen};
pub use descriptors::{DescriptorLimit, inherited_soft_limit, raise_descriptor_limit};
pub use drain::{Drain, Drained, termination};
pub use limits::Limits;
pub use peer::{Peer, PeerTls};
pub use serve::serve;
