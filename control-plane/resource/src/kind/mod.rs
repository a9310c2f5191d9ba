//! What schema cannot say about a kind: names, scope, subresources, strategy, columns.
//!
//! One constant row per kind, one file per API group. Facts from `pkg/registry/*/*/strategy.go`,
//! `pkg/registry/*/*/storage/storage.go` (short names, categories) and the published swagger.

mod apps;
mod auth;
mod core;
mod networking;
mod others;
mod reviews;
mod rows;

pub use rows::{all, by_kind, by_resource, groups};

use crate::error::GroupName;
use crate::table::Column;

/// One served kind at one version.
#[derive(Debug)]
pub struct KindSpec {
    /// Empty for the core group.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub namespaced: bool,
    /// Key into the schema arena, upstream's definition name: `io.k8s.api.apps.v1.Deployment`.
    pub root_type: &'static str,
    pub verbs: &'static [&'static str],
    pub subresources: &'static [Subresource],
    pub strategy: Strategy,
    pub columns: &'static [Column],
    /// Fields that field selectors may name beside `metadata.name` and `metadata.namespace`.
    pub selectable_fields: &'static [&'static str],
    /// Below `/registry/`, without slashes at the ends; upstream's, so irregular for old kinds. Empty for kinds that are
    /// answered when created and never stored (reviews).
    pub storage_prefix: &'static str,
    /// `(this version's field, stored field)` at the top level, where another version's names are stored.
    pub renamed_in_storage: &'static [(&'static str, &'static str)],
}

/// How a write of this kind is prepared (`rest.Rest{Create,Update,Delete}Strategy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strategy {
    /// `.status` is owned by the status subresource: writes to the main resource leave it alone.
    pub has_status: bool,
    /// `metadata.generation` counts changes of the spec.
    pub has_generation: bool,
    /// PUT of an object that is not there creates it.
    pub create_on_update: bool,
    /// PUT without a resourceVersion is accepted.
    pub unconditional_update: bool,
    /// Deletion waits for a grace period (pods).
    pub graceful_delete: bool,
    /// Name rule of the object.
    pub name_rule: NameRule,
}

/// Which names a kind accepts (`apimachinery/pkg/api/validation/generic.go`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 subdomain, at most 253 bytes.
    Subdomain,
    /// RFC 1123 label, at most 63 bytes.
    Label,
    /// RFC 1035 label, at most 63 bytes: Services.
    ServiceLabel,
    /// Anything that is one path segment: RBAC kinds.
    PathSegment,
}

/// A subresource below a named object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subresource {
    Status,
    Scale,
    Binding,
    Log,
    Eviction,
    Finalize,
    Token,
}

impl Subresource {
    /// Last segment of the path.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Scale => "scale",
            Self::Binding => "binding",
            Self::Log => "log",
            Self::Eviction => "eviction",
            Self::Finalize => "finalize",
            Self::Token => "token",
        }
    }

    pub const fn verbs(self) -> &'static [&'static str] {
        match self {
            Self::Status | Self::Scale => &["get", "patch", "update"],
            Self::Binding | Self::Eviction | Self::Token => &["create"],
            Self::Log => &["get"],
            Self::Finalize => &["update"],
        }
    }

    /// `(group, version, kind, root type)` of the body where it differs from the parent's.
    pub const fn body(self) -> Option<BodyKind> {
        match self {
            Self::Status | Self::Finalize | Self::Log => None,
            Self::Scale => Some(SCALE),
            Self::Binding => Some(BINDING),
            Self::Eviction => Some(EVICTION),
            Self::Token => Some(TOKEN_REQUEST),
        }
    }
}

/// A kind that travels in bodies without being stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyKind {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub root_type: &'static str,
}

pub const SCALE: BodyKind = BodyKind {
    group: "autoscaling",
    version: "v1",
    kind: "Scale",
    root_type: "io.k8s.api.autoscaling.v1.Scale",
};
pub const BINDING: BodyKind = BodyKind {
    group: "",
    version: "v1",
    kind: "Binding",
    root_type: "io.k8s.api.core.v1.Binding",
};
pub const EVICTION: BodyKind = BodyKind {
    group: "policy",
    version: "v1",
    kind: "Eviction",
    root_type: "io.k8s.api.policy.v1.Eviction",
};
pub const TOKEN_REQUEST: BodyKind = BodyKind {
    group: "authentication.k8s.io",
    version: "v1",
    kind: "TokenRequest",
    root_type: "io.k8s.api.authentication.v1.TokenRequest",
};
pub const DELETE_OPTIONS: BodyKind = BodyKind {
    group: "",
    version: "v1",
    kind: "DeleteOptions",
    root_type: "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
};

impl KindSpec {
    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The kind of a list of these objects.
    pub fn list_kind(&self) -> String {
        format!("{}List", self.kind)
    }

    /// As messages name the resource: `deployments.apps`.
    pub fn resource(&self) -> GroupName {
        GroupName::new(self.group, self.plural)
    }

    /// As validation messages name the kind: `Deployment.apps`.
    pub fn group_kind(&self) -> GroupName {
        GroupName::new(self.group, self.kind)
    }

    pub fn is_stored(&self) -> bool {
        !self.storage_prefix.is_empty()
    }

    pub fn serves(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    pub fn subresource(&self, name: &str) -> Option<Subresource> {
        self.subresources.iter().copied().find(|s| s.name() == name)
    }
}

/// Every verb of an ordinary collection, in discovery's order.
pub(crate) const ALL_VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];
/// Namespaces have no deletecollection.
pub(crate) const NAMESPACE_VERBS: &[&str] = &[
    "create", "delete", "get", "list", "patch", "update", "watch",
];

/// Reviews: asked by creating one.
pub(crate) const CREATE_ONLY: &[&str] = &["create"];

/// Data without status or generation: ConfigMap, Secret, Lease, …
pub(crate) const PLAIN: Strategy = Strategy {
    has_status: false,
    has_generation: false,
    create_on_update: false,
    unconditional_update: true,
    graceful_delete: false,
    name_rule: NameRule::Subdomain,
};
/// Spec and status with a counted spec: Deployment, Ingress, …
pub(crate) const COUNTED: Strategy = Strategy {
    has_status: true,
    has_generation: true,
    ..PLAIN
};
