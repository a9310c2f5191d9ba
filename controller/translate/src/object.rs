//! The kinds that are watched, stripped to what is looked at.

use std::fmt;

use k8s_openapi::{
    api::{
        core::v1::{Node, NodeStatus, Pod, PodSpec, PodStatus, Secret, Service},
        discovery::v1::EndpointSlice,
        networking::v1::{Ingress, IngressClass},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde::Serialize;

/// Namespace and name; the namespace of a cluster-scoped object is empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct ObjectKey {
    pub namespace: String,
    pub name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Kind {
    Ingress,
    IngressClass,
    Service,
    EndpointSlice,
    Secret,
    /// Of proxies alone.
    Pod,
    Node,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct ObjectRef {
    pub kind: Kind,
    pub key: ObjectKey,
}

/// One watched object. It has no `Debug`: it may be a Secret.
#[derive(Clone)]
pub enum Object {
    Ingress(Box<Ingress>),
    IngressClass(Box<IngressClass>),
    Service(Box<Service>),
    EndpointSlice(Box<EndpointSlice>),
    Secret(Box<Secret>),
    Pod(Box<Pod>),
    Node(Box<Node>),
}

/// What a watch says.
#[derive(Clone)]
pub enum Change {
    Put(Object),
    Delete(ObjectRef),
    /// A finished list of one kind in one namespace (none: in all of them): what it does not hold no longer exists.
    Relist {
        kind: Kind,
        namespace: Option<String>,
        objects: Vec<Object>,
    },
    /// The API server lets nobody with our rights see this kind: nothing is known of it, not even that there is none.
    Hidden(Kind),
}

impl ObjectKey {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// `namespace/name`, as flags and annotations write it.
    pub fn parse(text: &str) -> Option<Self> {
        let (namespace, name) = text.split_once('/')?;
        let valid = !namespace.is_empty() && !name.is_empty() && !name.contains('/');
        valid.then(|| Self::new(namespace, name))
    }

    pub(crate) fn of(metadata: &ObjectMeta) -> Self {
        Self::new(
            metadata.namespace.clone().unwrap_or_default(),
            metadata.name.clone().unwrap_or_default(),
        )
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            return f.write_str(&self.name);
        }
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Object {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Ingress(_) => Kind::Ingress,
            Self::IngressClass(_) => Kind::IngressClass,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Secret(_) => Kind::Secret,
            Self::Pod(_) => Kind::Pod,
            Self::Node(_) => Kind::Node,
        }
    }

    pub fn key(&self) -> ObjectKey {
        ObjectKey::of(self.metadata())
    }

    fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Ingress(object) => &object.metadata,
            Self::IngressClass(object) => &object.metadata,
            Self::Service(object) => &object.metadata,
            Self::EndpointSlice(object) => &object.metadata,
            Self::Secret(object) => &object.metadata,
            Self::Pod(object) => &object.metadata,
            Self::Node(object) => &object.metadata,
        }
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Ingress(object) => &mut object.metadata,
            Self::IngressClass(object) => &mut object.metadata,
            Self::Service(object) => &mut object.metadata,
            Self::EndpointSlice(object) => &mut object.metadata,
            Self::Secret(object) => &mut object.metadata,
            Self::Pod(object) => &mut object.metadata,
            Self::Node(object) => &mut object.metadata,
        }
    }

    /// Drops what is never looked at, so that it costs no memory and its changes cause no work: field managers, the
    /// last applied manifest, resource versions, other keys of Secrets (Helm keeps megabytes there).
    pub fn strip(mut self) -> Self {
        let metadata = self.metadata_mut();
        metadata.managed_fields = None;
        metadata.owner_references = None;
        metadata.finalizers = None;
        metadata.resource_version = None;
        if let Some(annotations) = &mut metadata.annotations {
            annotations.remove(LAST_APPLIED);
        }
        match &mut self {
            Self::Ingress(_) => {}
            Self::IngressClass(class) => class.metadata.labels = None,
            Self::Service(service) => {
                service.metadata.annotations = None;
                if let Some(status) = &mut service.status {
                    status.conditions = None;
                }
            }
            Self::EndpointSlice(slice) => strip_slice(slice),
            Self::Pod(pod) => strip_pod(pod),
            Self::Node(node) => strip_node(node),
            Self::Secret(secret) => {
                secret.metadata.annotations = None;
                secret.metadata.labels = None;
                secret.string_data = None;
                if let Some(data) = &mut secret.data {
                    data.retain(|key, _| SECRET_KEYS.contains(&key.as_str()));
                }
            }
        }
        self
    }
}

/// Where it runs and whether it is ready.
fn strip_pod(pod: &mut Pod) {
    pod.metadata.annotations = None;
    pod.metadata.labels = None;
    pod.metadata.generation = None;
    pod.spec = pod.spec.take().map(|spec| PodSpec {
        node_name: spec.node_name,
        ..PodSpec::default()
    });
    pod.status = pod.status.take().map(|status| {
        let mut conditions = status.conditions.unwrap_or_default();
        conditions.retain(|condition| condition.type_ == "Ready");
        for condition in &mut conditions {
            condition.last_probe_time = None;
            condition.last_transition_time = None;
            condition.message = None;
            condition.reason = None;
        }
        PodStatus {
            phase: status.phase,
            conditions: Some(conditions),
            ..PodStatus::default()
        }
    });
}

/// Its addresses: heartbeats change nothing here.
fn strip_node(node: &mut Node) {
    node.metadata.annotations = None;
    node.metadata.labels = None;
    node.spec = None;
    node.status = node.status.take().map(|status| NodeStatus {
        addresses: status.addresses,
        ..NodeStatus::default()
    });
}

/// The annotations of slices change with every endpoint (trigger time), nobody here reads them.
fn strip_slice(slice: &mut EndpointSlice) {
    slice.metadata.annotations = None;
    slice.metadata.generation = None;
    if let Some(labels) = &mut slice.metadata.labels {
        labels.retain(|name, _| name == SERVICE_NAME_LABEL);
    }
    for endpoint in slice.endpoints.iter_mut().flatten() {
        endpoint.deprecated_topology = None;
        endpoint.hints = None;
        endpoint.node_name = None;
        endpoint.zone = None;
    }
}

/// Which Service a slice belongs to (KEP-752).
pub(crate) const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const SECRET_KEYS: [&str; 3] = ["tls.crt", "tls.key", "ca.crt"];
