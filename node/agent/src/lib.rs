//! The node: it runs the pods that the API assigns to it and makes Services reachable.
//!
//! *Owns*: a private containerd with images assembled from our own executable, pods and their volumes, probes, status
//! and logs, the node's registration and Lease, the kubelet API, the kernel's ruleset for Services, and the cluster's DNS
//! server ([`dns`]), which also runs alone.
//! *Does not own*: what to do next with a pod (`portcullis-pod`), what the ruleset says (`portcullis-nft`) or what a name
//! answers (`portcullis-dns`): these are pure.
//! *Entry points*: [`start`] and [`dns::start`].

mod cni;
mod config;
mod containerd;
mod cri;
pub mod dns;
mod error;
mod events;
mod health_checks;
mod host_ports;
mod image;
mod kubelet;
mod layout;
mod links;
mod log_upkeep;
mod machine;
mod node;
mod pause;
mod pods;
mod programs;
mod recorder;
mod registration;
mod running;
mod service_proxy;
mod service_store;

pub use config::Config;
pub use containerd::load as load_images;
pub use error::{Error, Result};
pub use image::{Compression, Image, build as build_image};
pub use kubelet::Serving;
pub use machine::addresses as host_addresses;
pub use pause::pause;
pub use portcullis_nft::Cidr;
pub use running::{Running, start};
