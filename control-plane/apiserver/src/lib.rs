//! The Kubernetes API server: one generic machine over HTTP.
//!
//! Owns the way of a request (authenticate, parse, authorize, limit, decode, prepare, store, encode), watches, the view of
//! the roles that authorization reads, the pools of Service addresses and node ports, ServiceAccount tokens, and the files
//! of the cluster's authority. Does not own what kinds mean (`portcullis-resource`), durability (`portcullis-store`), accept
//! loops and TLS (`portcullis-serve`), nor any controller: those are clients like everybody. Entry point: [`start`], with
//! [`Pki::load_or_create`] before it.

mod admission;
mod api;
mod authn;
mod authz;
mod body;
mod bootstrap;
mod call;
mod cidr;
mod config;
mod encode;
mod inflight;
mod kubeconfig;
mod metrics;
mod object;
mod path;
mod pki;
mod pools;
mod review;
mod server;
mod service;
mod subresource;
mod tokens;
mod verb;
mod watch;
mod write;

pub use authz::AuthorizationMode;
pub use cidr::{Cidr, CidrError};
pub use config::Config;
pub use kubeconfig::kubeconfig;
pub use pki::{Identity, Pki, PkiFilesError};
pub use server::{Running, StartError, start};
