//! Why the node could not start or do a thing; one sentence each, the object named.

use std::path::PathBuf;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum Error {
    #[error("the node needs root to run pods; start as root, or leave the node out")]
    NotRoot,
    #[error("the node needs `{program}`, which is not installed; on Debian: apt install {package}")]
    Missing {
        program: &'static str,
        package: &'static str,
    },
    #[error(
        "another node on this machine has the pod addresses {cidr}: stop it, or give this one others (--pod-cidr)"
    )]
    Claimed {
        cidr: portcullis_nft::Cidr,
        source: std::io::Error,
    },
    #[error(
        "another node runs in this network namespace: stop it, or give this one a namespace of its own"
    )]
    TableClaimed(#[source] std::io::Error),
    #[error("cannot run `{program}`")]
    Run {
        program: String,
        source: std::io::Error,
    },
    #[error("`{program}` failed: {message}")]
    Failed { program: String, message: String },
    #[error("cannot use {path}")]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("containerd did not come up: {reason}; its log is {log}")]
    Containerd { reason: String, log: PathBuf },
    #[error(
        "no node with a container runtime of its own runs in {data_dir}: start it with `portcullis up`, or name its data directory with --data-dir"
    )]
    NoNode { data_dir: PathBuf },
    #[error("{path} is no image archive: {reason}")]
    Archive { path: PathBuf, reason: String },
    #[error("cannot reach the container runtime at {endpoint}")]
    Connect {
        endpoint: String,
        source: tonic::transport::Error,
    },
    #[error("the container runtime refused to {action}: {}", .source.message())]
    Runtime {
        action: &'static str,
        source: Box<tonic::Status>,
    },
    #[error("cannot listen for the kubelet API on {address}")]
    Listen {
        address: std::net::SocketAddr,
        source: std::io::Error,
    },
    #[error("the kubelet's certificate cannot be used: {reason}")]
    Certificate { reason: String },
    #[error("cannot {action}")]
    Api {
        action: String,
        source: Box<kube::Error>,
    },
    #[error("failed to fetch a token of the ServiceAccount {account}: {reason}")]
    Token { account: String, reason: String },
    #[error("MountVolume.SetUp failed for volume \"{name}\" : {message}")]
    Volume { name: String, message: String },
    #[error("{name} is no image this node has, and it was not pulled: {reason}")]
    Image { name: String, reason: String },
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::File { path, source }
    }

    pub(crate) fn runtime(action: &'static str) -> impl FnOnce(tonic::Status) -> Error {
        move |source| Error::Runtime {
            action,
            source: Box::new(source),
        }
    }

    pub(crate) fn api(action: impl Into<String>) -> impl FnOnce(kube::Error) -> Error {
        let action = action.into();
        move |source| Error::Api {
            action,
            source: Box::new(source),
        }
    }
}
