//! Pure routing: what a controller asks for, compiled once, looked up per request.
//!
//! *Owns* the specs (what is asked, serialisable and comparable), the compiled table, its precedence rules, path
//! normalisation and the lookup.
//! *Does not own* sockets, TLS, time, counters, balancing state: those live in the gateway's registry, keyed by the
//! stable ids that specs carry.
//! *Entry point*: [`spec::Specs`] into [`compile`], a [`Table`] out, [`Table::find`] for each request.

mod explain;
mod find;
mod host;
mod matcher;
pub mod path;
mod route;
pub mod spec;
mod table;

pub use explain::{Considered, Explanation, RouteVerdict};
pub use find::{Found, Head};
pub use host::Host;
pub use route::{Cidr, Limit, Route, Step};
pub use table::{Listener, Refusal, Table, compile};
