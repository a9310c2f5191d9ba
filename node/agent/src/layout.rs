//! Where the node keeps what: every path under the data directory, in one place.

use k8s_openapi::api::core::v1::Pod;
use std::path::{Path, PathBuf};

/// Paths of one node.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Layout {
            root: root.to_owned(),
        }
    }

    pub(crate) fn containerd(&self) -> PathBuf {
        self.root.join("containerd")
    }

    /// Images and snapshots; survives a stop.
    pub(crate) fn containerd_root(&self) -> PathBuf {
        self.containerd().join("root")
    }

    pub(crate) fn containerd_state(&self) -> PathBuf {
        self.containerd().join("state")
    }

    pub(crate) fn containerd_log(&self) -> PathBuf {
        self.containerd().join("containerd.log")
    }

    pub(crate) fn containerd_config(&self) -> PathBuf {
        self.containerd().join("config.toml")
    }

    pub(crate) fn containerd_pid(&self) -> PathBuf {
        self.containerd().join("containerd.pid")
    }

    /// The socket, in `/run` where the data directory's path would not fit a socket address.
    pub(crate) fn containerd_socket(&self) -> PathBuf {
        let near = self.containerd().join("containerd.sock");
        if near.as_os_str().len() <= LONGEST_SOCKET_PATH {
            return near;
        }
        PathBuf::from(format!(
            "/run/portcullis-{}/containerd.sock",
            self.short_name()
        ))
    }

    pub(crate) fn cni_configuration(&self) -> PathBuf {
        self.root.join("cni").join("net.d")
    }

    pub(crate) fn cni_addresses(&self) -> PathBuf {
        self.root.join("cni").join("addresses")
    }

    pub(crate) fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }

    pub(crate) fn pod(&self, uid: &str) -> PathBuf {
        self.pods().join(uid)
    }

    pub(crate) fn volume(&self, uid: &str, name: &str) -> PathBuf {
        self.pod(uid).join("volumes").join(name)
    }

    /// Where the `index`th mount of a container is, if it is a part of a volume.
    pub(crate) fn sub_path(&self, uid: &str, container: &str, index: usize) -> PathBuf {
        let parts = self.pod(uid).join("subpaths");
        parts.join(container).join(index.to_string())
    }

    /// A directory per pod, in it one per container.
    pub(crate) fn all_logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub(crate) fn logs(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.all_logs().join(format!("{namespace}_{name}_{uid}"))
    }

    pub(crate) fn pod_logs(&self, pod: &Pod) -> PathBuf {
        let [namespace, name, uid] = [
            &pod.metadata.namespace,
            &pod.metadata.name,
            &pod.metadata.uid,
        ];
        let [namespace, name, uid] =
            [namespace, name, uid].map(|part| part.as_deref().unwrap_or(""));
        self.logs(namespace, name, uid)
    }

    /// Where the termination message of one run of a container is kept.
    pub(crate) fn termination_message(&self, uid: &str, container: &str, attempt: u32) -> PathBuf {
        self.pod(uid)
            .join("containers")
            .join(container)
            .join(format!("{attempt}.message"))
    }

    /// Parent of all pods' cgroups; two nodes on one machine have two.
    pub(crate) fn cgroup(&self) -> String {
        format!("/portcullis-{}", self.short_name())
    }

    /// Same for the same data directory, FNV-1a.
    pub(crate) fn short_name(&self) -> String {
        let bytes = self.root.as_os_str().as_encoded_bytes();
        let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{:08x}", hash as u32)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
}

/// A Unix socket address holds 107 bytes; containerd adds `.ttrpc`.
const LONGEST_SOCKET_PATH: usize = 100;
