//! Drives the real binaries with real clients.
//!
//! *Owns*: starting `portcullis` and waiting for its ready line, running kubectl, curl, BIND and ExternalDNS with time limits, load,
//! usage, finding what a stopped cluster left behind, and the runner of the scenarios in `tests/`.
//! *Does not own*: any expectation about behaviour, which the scenarios state.
//! *Entry point*: [`Suite`] in a test's `main`, then [`Cluster`].
//!
//! Everything is ended by the process id it was started with, never by name, so that several may run on one machine.

mod cluster;
mod command;
mod dns;
mod echo;
mod helm;
mod http;
mod kubectl;
mod leftovers;
mod load;
mod process;
mod suite;
mod usage;
mod wait;

pub use cluster::{Cluster, ClusterOptions, FREE_PORTS, Ready};
pub use command::{Output, binary, run_with_deadline};
pub use dns::{ExternalDns, NameServer};
pub use echo::EchoServer;
pub use helm::{Helm, chart};
pub use http::{Answer, Curl, certificate};
pub use kubectl::Kubectl;
pub use leftovers::Leftovers;
pub use load::{Load, LoadReport};
pub use process::{Environment, Process, Stopped, free_port};
pub use suite::{Alone, Shared, Stage, Suite, is_root};
pub use usage::{Consumer, processor_percent};
pub use wait::{eventually, eventually_some};
