//! The pure half of the kubelet.
//!
//! *Owns*: what to do next with a pod ([`plan()`]), the status it has earned ([`status()`]), probe thresholds and their
//! schedule, environment, volume contents, credentials for registries, which logs are kept, the texts of Events, resource
//! arithmetic, `/etc/hosts` and `resolv.conf`.
//! *Does not own*: the runtime, the API, the file system, the clock.
//! *Entry point*: [`plan()`].

mod conditions;
pub mod environment;
pub mod files;
pub mod log_files;
pub mod notices;
pub mod observed;
mod phase;
mod plan;
pub mod probe;
pub mod pull_secrets;
pub mod refresh;
pub mod resources;
pub mod sources;
mod status;
mod stopped;
pub mod volumes;

pub use observed::{
    Container, ContainerState, Failure, Observed, Phase, ProbeVerdicts, Runtime, Sandbox,
};
pub use plan::{Action, StopReason, plan};
pub use status::status;
pub use stopped::stopped;

#[cfg(test)]
mod tests;
