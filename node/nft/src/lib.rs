//! Services as one nftables ruleset.
//!
//! *Owns*: which endpoints a Service port has ([`service_ports`]) and the text of the table that balances over them
//! ([`render`]), for IPv4 and IPv6.
//! *Does not own*: watching, applying, connection tracking entries, pod links.
//! *Entry point*: [`render`].

mod cidr;
mod render;
mod service;

pub use cidr::{BadCidr, Cidr};
pub use render::{Network, removal, render};
pub use service::{Protocol, ServicePort, service_ports};

#[cfg(test)]
mod tests;
