//! The data plane: specs in, traffic served.
//!
//! *Owns* worker threads and their sockets, TLS, HTTP in both directions, upstream pools, the registry of state that
//! outlives tables, metrics and the access log.
//! *Does not own* routing decisions (the route crate), what to serve (the controller), or any API credentials.
//! *Entry point*: [`Gateway::start`], then [`Gateway::apply`] whenever specs change, [`Gateway::drain`] at the end.

mod body;
mod client;
mod clock;
mod config;
pub mod control;
mod core;
mod exchange;
mod forwarded;
mod gateway;
mod observe;
mod publish;
mod reply;
mod request;
mod upstream;
mod worker;

pub use config::{AccessLogTarget, Config, Identity, Limits};
pub use gateway::{ApplyReport, BoundListener, DrainReport, Gateway, StartError};
pub use portcullis_route::{Refusal, spec};
