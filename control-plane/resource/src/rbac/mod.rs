//! Role-based access control: roles and bindings in, a decision with its reason out.
//!
//! [`Objects`] holds what the store has, [`Policy`] is its immutable index, [`decide`] the answer to one question. The
//! semantics and every text are upstream's (`plugin/pkg/auth/authorizer/rbac`, `pkg/registry/rbac`): rules only ever
//! grant, so what cannot be resolved grants nothing.

pub mod bootstrap;
mod cover;
pub mod escalation;
pub mod impersonation;
mod objects;
mod policy;
mod rule;
#[cfg(test)]
mod tests;

pub use objects::{Objects, RbacKind};
pub use policy::Policy;
pub use rule::{Rule, everything};

use crate::request::{RequestInfo, Target};

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    pub name: &'a str,
    pub groups: &'a [String],
}

impl Identity<'_> {
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}

/// What is asked for (`authorizer.Attributes`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// One of the API's, or one that only authorization knows: `impersonate`, `bind`, `escalate`, …
    pub verb: &'a str,
    pub scope: Scope<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    /// A path that is no resource: `/healthz`.
    Path(&'a str),
    Resource(ResourceScope<'a>),
}

/// Absent parts are empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResourceScope<'a> {
    pub group: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
}

/// The answer. A reason may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Allow(String),
    Deny(String),
}

impl Decision {
    pub fn allows(&self) -> bool {
        matches!(self, Self::Allow(_))
    }
}

/// The answer of `policy`, `None` while no roles have been read. Members of [`MASTERS`] may do everything, also when a
/// broken policy would lock everybody out.
pub fn decide(
    policy: Option<&Policy>,
    identity: &Identity<'_>,
    asked: &Attributes<'_>,
) -> Decision {
    if identity.is_in(MASTERS) {
        return Decision::Allow(String::new());
    }
    match policy {
        Some(policy) => policy.authorize(identity, asked),
        None => Decision::Deny("RBAC: the roles have not been read yet".to_owned()),
    }
}

impl<'a> Attributes<'a> {
    /// What a request asks for. `method` is the HTTP method in lower case, the verb of paths that are no resources.
    pub fn of_request(info: &'a RequestInfo, method: &'a str) -> Self {
        match &info.target {
            Target::Path(path) => Self {
                verb: method,
                scope: Scope::Path(path),
            },
            Target::Resource(path) => Self {
                verb: info.verb.name(),
                scope: Scope::Resource(ResourceScope {
                    group: &path.group,
                    resource: &path.resource,
                    subresource: &path.subresource,
                    namespace: &path.namespace,
                    name: &path.name,
                }),
            },
        }
    }

    /// What a refusal says, without what it is about (`responsewriters.forbiddenMessage`).
    pub fn refusal(&self, user: &str, reason: &str) -> String {
        let verb = self.verb;
        let mut text = match &self.scope {
            Scope::Path(path) => format!("User {user:?} cannot {verb} path {path:?}"),
            Scope::Resource(asked) => {
                let place = match asked.namespace {
                    "" => "at the cluster scope".to_owned(),
                    namespace => format!("in the namespace {namespace:?}"),
                };
                format!(
                    "User {user:?} cannot {verb} resource {:?} in API group {:?} {place}",
                    asked.combined(),
                    asked.group
                )
            }
        };
        if !reason.is_empty() {
            text.push_str(": ");
            text.push_str(reason);
        }
        text
    }
}

impl ResourceScope<'_> {
    /// `pods`, or `pods/log`.
    fn combined(&self) -> String {
        match self.subresource {
            "" => self.resource.to_owned(),
            sub => format!("{}/{sub}", self.resource),
        }
    }
}

/// The group that may do everything, whatever the roles say.
pub const MASTERS: &str = "system:masters";
pub const AUTHENTICATED: &str = "system:authenticated";
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
pub const ANONYMOUS: &str = "system:anonymous";
/// `rbac.authorization.k8s.io`.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// The user name of a ServiceAccount.
pub fn account_name(namespace: &str, name: &str) -> String {
    format!("{ACCOUNT_PREFIX}{namespace}:{name}")
}

/// Namespace and name of a ServiceAccount's user name, `None` for other users'.
pub fn split_account_name(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(ACCOUNT_PREFIX)?.split_once(':')?;
    let is_label = |text: &str| crate::validate::names::dns_label(text).is_empty();
    let is_subdomain = |text: &str| crate::validate::names::dns_subdomain(text).is_empty();
    (is_label(namespace) && is_subdomain(name)).then_some((namespace, name))
}

/// The groups of every ServiceAccount in a namespace.
pub fn account_groups(namespace: &str) -> Vec<String> {
    vec![
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
    ]
}

const ACCOUNT_PREFIX: &str = "system:serviceaccount:";
