//! Nobody gives away more than they hold (`pkg/registry/rbac/*/policybased/storage.go`).
//!
//! A role may be written by whoever holds all its rules, or the verb `escalate`; a binding by whoever holds all rules of
//! its role, or the verb `bind` on it. Members of `system:masters` may write both.

use serde_json::Value;

use super::rule::quoted;
use super::{
    Attributes, Decision, GROUP, Identity, MASTERS, Policy, ResourceScope, Rule, Scope, cover,
    everything,
};
use crate::error::{ApiError, GroupName};
use crate::kind::KindSpec;

/// A write of a role or binding.
#[derive(Debug, Clone, Copy)]
pub struct Write<'a> {
    pub kind: &'a KindSpec,
    /// Empty for cluster kinds.
    pub namespace: &'a str,
    /// As the path names it: empty when creating.
    pub name: &'a str,
    pub old: Option<&'a Value>,
    pub new: &'a Value,
}

/// Whether `identity` may write this. Kinds that grant nothing pass.
///
/// # Errors
/// 403 that names what the writer lacks; 404 for a binding to a role that is not there.
pub fn check(
    policy: Option<&Policy>,
    identity: &Identity<'_>,
    authorize: impl Fn(&Attributes<'_>) -> Decision,
    write: &Write<'_>,
) -> Result<(), ApiError> {
    if write.kind.group != GROUP || identity.is_in(MASTERS) {
        return Ok(());
    }
    // The garbage collector must be able to do its work on roles that it could not make.
    if write
        .old
        .is_some_and(|old| same_but_for_owners(old, write.new))
    {
        return Ok(());
    }
    let empty = Policy::default();
    let held = Held {
        policy: policy.unwrap_or(&empty),
        identity,
        write,
    };
    match write.kind.plural {
        "roles" | "clusterroles" => {
            if authorize(&escalate(write)).allows() {
                return Ok(());
            }
            held.covers(&Rule::all_of(write.new))?;
            held.covers_aggregation()
        }
        _ => {
            let (kind, name) = role_reference(write.new);
            if authorize(&bind(write, kind, name)).allows() {
                return Ok(());
            }
            let rules = held.policy.role_rules(kind, name, write.namespace)?;
            held.covers(rules)
        }
    }
}

struct Held<'a> {
    policy: &'a Policy,
    identity: &'a Identity<'a>,
    write: &'a Write<'a>,
}

impl Held<'_> {
    fn covers(&self, wanted: &[Rule]) -> Result<(), ApiError> {
        let (held, unresolved) = self.policy.rules_for(self.identity, self.write.namespace);
        let missing = cover::uncovered(&held, wanted);
        if missing.is_empty() {
            return Ok(());
        }
        let mut shown: Vec<String> = cover::compact(missing)
            .iter()
            .map(ToString::to_string)
            .collect();
        shown.sort();
        shown.dedup();
        let mut message = format!(
            "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            self.identity.name,
            quoted(self.identity.groups),
            shown.join("\n")
        );
        if let Some(unresolved) = unresolved {
            message.push_str(&format!("; resolution errors: [{unresolved}]"));
        }
        Err(self.refused(message))
    }

    /// An aggregated role can come to hold anything.
    fn covers_aggregation(&self) -> Result<(), ApiError> {
        let aggregates = |role: &Value| !role["aggregationRule"].is_null();
        if !aggregates(self.write.new) && !self.write.old.is_some_and(aggregates) {
            return Ok(());
        }
        let (held, _) = self.policy.rules_for(self.identity, "");
        if cover::uncovered(&held, &everything()).is_empty() {
            return Ok(());
        }
        let message = "must have cluster-admin privileges to use aggregationRule";
        Err(self.refused(message.to_owned()))
    }

    fn refused(&self, message: String) -> ApiError {
        let name = match self.write.name {
            "" => self.write.new["metadata"]["name"]
                .as_str()
                .unwrap_or_default(),
            name => name,
        };
        let resource = GroupName::new(GROUP, self.write.kind.plural);
        ApiError::forbidden(resource, name, message)
    }
}

fn escalate<'a>(write: &Write<'a>) -> Attributes<'a> {
    attributes("escalate", write, write.kind.plural, write.name)
}

fn bind<'a>(write: &Write<'a>, kind: &str, name: &'a str) -> Attributes<'a> {
    let resource = match kind {
        "Role" => "roles",
        _ => "clusterroles",
    };
    attributes("bind", write, resource, name)
}

fn attributes<'a>(
    verb: &'a str,
    write: &Write<'a>,
    resource: &'a str,
    name: &'a str,
) -> Attributes<'a> {
    Attributes {
        verb,
        scope: Scope::Resource(ResourceScope {
            group: GROUP,
            resource,
            subresource: "",
            namespace: write.namespace,
            name,
        }),
    }
}

fn role_reference(binding: &Value) -> (&str, &str) {
    let text = |member: &str| binding["roleRef"][member].as_str().unwrap_or_default();
    (text("kind"), text("name"))
}

/// `rbacregistry.IsOnlyMutatingGCFields`.
fn same_but_for_owners(old: &Value, new: &Value) -> bool {
    let stripped = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            for name in [
                "ownerReferences",
                "finalizers",
                "managedFields",
                "resourceVersion",
            ] {
                metadata.remove(name);
            }
        }
        object
    };
    stripped(old) == stripped(new)
}
