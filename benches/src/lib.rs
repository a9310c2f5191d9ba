//! What Portcullis costs per request beside its peers, and how soon a change through the API is served.
//!
//! *Owns* the bench's fixed input, its origin and load, the peers' configurations and processes, the two reports.
//! *Does not own* installing the peers' programs, which `make bench` does, nor any code of the gateway: the Portcullis
//! row runs it as everybody else would.
//! *Entry point*: [`rounds::run`] for the table, [`latency::run`] for the way from the API to the first right answer.

pub mod check;
pub mod client;
pub mod gateway;
pub mod input;
pub mod latency;
pub mod load;
pub mod origin;
pub mod peer;
pub mod pinning;
pub mod process;
pub mod rounds;
pub mod table;
