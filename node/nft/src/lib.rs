//! Services as one nftables ruleset.
//!
//! *Owns*: which endpoints a Service port has ([`service_ports`]) and the text of the table that balances over them
//! ([`render`]), for IPv4 and IPv6; which ports of the host load balancers want ([`wanted_ports`]) and what their health
//! checks are told ([`health_checks`]).
//! *Does not own*: watching, applying, holding ports, connection tracking entries, pod links.
//! *Entry point*: [`render`].

mod balancer;
mod cidr;
mod endpoint;
mod render;
mod service;

pub use balancer::{HealthCheck, health_checks, wanted_ports};
pub use cidr::{BadCidr, Cidr};
pub use render::{Network, removal, render};
pub use service::{Here, HostPort, Protocol, ServicePort, service_ports};

#[cfg(test)]
mod tests;
