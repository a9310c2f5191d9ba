//! The nodes and what stands on them, kept incrementally: pods seen bound, and pods assumed bound before the watch says so.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};

use crate::footprint::{Footprint, HostPort, Resources};

/// One node as the scheduler sees it.
#[derive(Clone, Debug)]
pub struct NodeState {
    pub node: Arc<Node>,
    pub allocatable: Resources,
    pub requested: Resources,
    pub scored_cpu_milli: i64,
    pub scored_memory: i64,
    pub ports: Vec<HostPort>,
    pub pods: i64,
}

impl NodeState {
    fn new(node: Arc<Node>) -> Self {
        let status = node.status.as_ref();
        let allocatable = Resources::parse(status.and_then(|status| status.allocatable.as_ref()));
        Self {
            node,
            allocatable,
            requested: Resources::default(),
            scored_cpu_milli: 0,
            scored_memory: 0,
            ports: Vec::new(),
            pods: 0,
        }
    }

    pub fn name(&self) -> &str {
        self.node.metadata.name.as_deref().unwrap_or_default()
    }

    fn place(&mut self, footprint: &Footprint) {
        self.requested.add(&footprint.requests);
        self.scored_cpu_milli += footprint.scored_cpu_milli;
        self.scored_memory += footprint.scored_memory;
        self.ports.extend(footprint.ports.iter().cloned());
        self.pods += 1;
    }

    fn lift(&mut self, footprint: &Footprint) {
        self.requested.subtract(&footprint.requests);
        self.scored_cpu_milli -= footprint.scored_cpu_milli;
        self.scored_memory -= footprint.scored_memory;
        for port in &footprint.ports {
            if let Some(position) = self.ports.iter().position(|taken| taken == port) {
                self.ports.swap_remove(position);
            }
        }
        self.pods -= 1;
    }
}

#[derive(Debug)]
struct Placement {
    node: String,
    footprint: Footprint,
    /// Decided here, not yet seen in the watch.
    assumed: bool,
}

/// Every node and every placed pod.
#[derive(Debug, Default)]
pub struct Cluster {
    nodes: BTreeMap<String, NodeState>,
    placements: HashMap<String, Placement>,
}

impl Cluster {
    /// Nodes by name.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &NodeState> {
        self.nodes.values()
    }

    /// Adds or updates a node; what stands on it stays.
    pub fn apply_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        let mut state = NodeState::new(node);
        for placement in self
            .placements
            .values()
            .filter(|placement| placement.node == name)
        {
            state.place(&placement.footprint);
        }
        self.nodes.insert(name, state);
    }

    pub fn remove_node(&mut self, name: &str) {
        self.nodes.remove(name);
    }

    /// Records a pod as the API shows it. One that is finished or not bound takes nothing, unless it is assumed.
    pub fn apply_pod(&mut self, pod: &Pod) {
        let Some(uid) = pod.metadata.uid.as_deref() else {
            return;
        };
        let phase = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        let node = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.node_name.as_deref())
            .filter(|name| !name.is_empty());
        match node {
            _ if matches!(phase, Some("Succeeded" | "Failed")) => self.remove_pod(uid),
            Some(node) => self.place(uid, node, Footprint::of(pod), false),
            None if self
                .placements
                .get(uid)
                .is_some_and(|placement| placement.assumed) => {}
            None => self.remove_pod(uid),
        }
    }

    pub fn remove_pod(&mut self, uid: &str) {
        let Some(placement) = self.placements.remove(uid) else {
            return;
        };
        if let Some(node) = self.nodes.get_mut(&placement.node) {
            node.lift(&placement.footprint);
        }
    }

    /// Counts a pod on a node before the API shows it there.
    pub fn assume(&mut self, pod: &Pod, node: &str) {
        if let Some(uid) = pod.metadata.uid.as_deref() {
            self.place(uid, node, Footprint::of(pod), true);
        }
    }

    /// Takes an assumption back; a pod seen bound stays.
    pub fn forget(&mut self, uid: &str) {
        if self
            .placements
            .get(uid)
            .is_some_and(|placement| placement.assumed)
        {
            self.remove_pod(uid);
        }
    }

    /// Whether the pod is placed, by sight or assumption.
    pub fn is_placed(&self, uid: &str) -> bool {
        self.placements.contains_key(uid)
    }

    fn place(&mut self, uid: &str, node: &str, footprint: Footprint, assumed: bool) {
        self.remove_pod(uid);
        if let Some(state) = self.nodes.get_mut(node) {
            state.place(&footprint);
        }
        self.placements.insert(
            uid.to_owned(),
            Placement {
                node: node.to_owned(),
                footprint,
                assumed,
            },
        );
    }
}
