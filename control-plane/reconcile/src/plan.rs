//! The one shape every controller answers with: actions, a status, events, and when to look again.

use std::borrow::Cow;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::SignedDuration;
use serde::Serialize;
use serde_json::Value;

/// What one look at the world decided. The executor carries it out and makes no choices of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<Action>,
    /// The whole object with its new status, to be put to the status subresource under the observed resourceVersion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Object>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Note>,
    /// Look again after this long even if nothing happens.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "seconds")]
    pub requeue_after: Option<SignedDuration>,
}

impl Plan {
    /// Keeps the sooner of the planned and the given next look.
    pub fn look_again_in(&mut self, after: SignedDuration) {
        let after = after.max(SignedDuration::ZERO);
        self.requeue_after = Some(
            self.requeue_after
                .map_or(after, |planned| planned.min(after)),
        );
    }
}

fn seconds<S: serde::Serializer>(
    after: &Option<SignedDuration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match after {
        Some(after) => serializer.serialize_f64(after.as_secs_f64()),
        None => serializer.serialize_none(),
    }
}

/// One call of the API.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Action {
    Create(Object),
    /// Whole-object update under the resourceVersion the object carries.
    Replace(Object),
    /// JSON merge patch (RFC 7386).
    Patch {
        target: Target,
        patch: Value,
    },
    /// JSON merge patch of the status subresource.
    PatchStatus {
        target: Target,
        patch: Value,
    },
    Delete {
        target: Target,
        propagation: Propagation,
        /// Delete only this version; a newer one may have changed its mind.
        #[serde(skip_serializing_if = "Option::is_none")]
        resource_version: Option<String>,
        /// Skip the grace period: nobody is left who could honour it.
        force: bool,
    },
    DeleteCollection {
        resource: Resource,
        namespace: String,
    },
    /// Assigns a Pod to a node through its `binding` subresource.
    Bind {
        target: Target,
        node: String,
    },
    /// Puts a Namespace to its `finalize` subresource.
    Finalize(Object),
}

impl Action {
    /// Deletion of exactly the target's UID, dependents in the background, with the usual grace.
    pub fn delete(target: Target) -> Self {
        Self::Delete {
            target,
            propagation: Propagation::Background,
            resource_version: None,
            force: false,
        }
    }
}

/// How a deletion treats dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// A kind as it stands in URLs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Resource {
    /// Empty for the core group.
    pub group: Cow<'static, str>,
    pub version: Cow<'static, str>,
    pub kind: Cow<'static, str>,
    pub plural: Cow<'static, str>,
}

impl Resource {
    pub fn of<K: k8s_openapi::Resource>() -> Self {
        Self {
            group: K::GROUP.into(),
            version: K::VERSION.into(),
            kind: K::KIND.into(),
            plural: K::URL_PATH_SEGMENT.into(),
        }
    }

    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

/// One object, by name; `uid` is a precondition where present.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    pub resource: Resource,
    /// `None` for cluster-scoped kinds.
    pub namespace: Option<String>,
    pub name: String,
    pub uid: Option<String>,
}

impl Target {
    pub fn of<K>(object: &K) -> Self
    where
        K: k8s_openapi::Resource + k8s_openapi::Metadata<Ty = ObjectMeta>,
    {
        Self::from_metadata(Resource::of::<K>(), object.metadata())
    }

    pub fn from_metadata(resource: Resource, metadata: &ObjectMeta) -> Self {
        Self {
            resource,
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone(),
        }
    }
}

impl Serialize for Target {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let namespace = self
            .namespace
            .as_deref()
            .map(|namespace| format!("{namespace}/"))
            .unwrap_or_default();
        serializer.serialize_str(&format!("{} {namespace}{}", self.resource.kind, self.name))
    }
}

/// A typed object of one of the kinds controllers write.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Object {
    ClusterRole(Box<ClusterRole>),
    ConfigMap(Box<ConfigMap>),
    Deployment(Box<Deployment>),
    EndpointSlice(Box<EndpointSlice>),
    Namespace(Box<Namespace>),
    Node(Box<Node>),
    Pod(Box<Pod>),
    ReplicaSet(Box<ReplicaSet>),
    Service(Box<Service>),
    ServiceAccount(Box<ServiceAccount>),
}

impl Object {
    pub fn target(&self) -> Target {
        match self {
            Self::ClusterRole(object) => Target::of(&**object),
            Self::ConfigMap(object) => Target::of(&**object),
            Self::Deployment(object) => Target::of(&**object),
            Self::EndpointSlice(object) => Target::of(&**object),
            Self::Namespace(object) => Target::of(&**object),
            Self::Node(object) => Target::of(&**object),
            Self::Pod(object) => Target::of(&**object),
            Self::ReplicaSet(object) => Target::of(&**object),
            Self::Service(object) => Target::of(&**object),
            Self::ServiceAccount(object) => Target::of(&**object),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Severity {
    Normal,
    Warning,
}

/// An Event worth telling the user.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Note {
    pub about: Target,
    pub severity: Severity,
    /// Machine-readable, as upstream spells it.
    pub reason: &'static str,
    pub message: String,
}

impl Note {
    pub fn normal(about: Target, reason: &'static str, message: String) -> Self {
        Self {
            about,
            severity: Severity::Normal,
            reason,
            message,
        }
    }

    pub fn warning(about: Target, reason: &'static str, message: String) -> Self {
        Self {
            about,
            severity: Severity::Warning,
            reason,
            message,
        }
    }
}
