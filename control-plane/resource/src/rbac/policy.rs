//! The index that questions are answered from. Immutable: a change of any object makes a new one.

use std::collections::HashMap;
use std::sync::Arc;

use super::objects::{Binding, Key, Meant, Objects};
use super::{Attributes, Decision, Identity, Rule, Scope};
use crate::error::{ApiError, GroupName};

#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// By namespace; the empty one is the cluster's.
    places: HashMap<String, Place>,
    objects: Objects,
}

/// The bindings of one namespace, or of the cluster.
#[derive(Debug, Clone, Default)]
struct Place {
    /// By name.
    grants: Vec<Grant>,
    users: HashMap<String, Vec<Applies>>,
    groups: HashMap<String, Vec<Applies>>,
}

#[derive(Debug, Clone)]
struct Grant {
    binding: Arc<Binding>,
    /// `Err` says which role is missing.
    rules: Result<Arc<Vec<Rule>>, String>,
}

/// That a grant applies, and by which of its subjects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Applies {
    grant: usize,
    subject: usize,
}

impl Policy {
    pub(super) fn new(objects: &Objects) -> Self {
        let mut places: HashMap<String, Place> = HashMap::new();
        for binding in objects.bindings.values() {
            let rules = role_of(objects, binding).map_err(|missing| missing.to_string());
            let place = places.entry(binding.key.namespace.clone()).or_default();
            place.add(Grant {
                binding: Arc::clone(binding),
                rules,
            });
        }
        Self {
            places,
            objects: objects.clone(),
        }
    }

    pub(super) fn authorize(&self, identity: &Identity<'_>, asked: &Attributes<'_>) -> Decision {
        let mut missing = Vec::new();
        for (grant, subject) in self.grants(identity, namespace_of(asked)) {
            match &grant.rules {
                Ok(rules) if rules.iter().any(|rule| rule.allows(asked)) => {
                    let source = describe(&grant.binding, subject);
                    return Decision::Allow(format!("RBAC: allowed by {source}"));
                }
                Ok(_) => {}
                Err(role) if missing.contains(role) => {}
                Err(role) => missing.push(role.clone()),
            }
        }
        Decision::Deny(match aggregate(&missing) {
            None => String::new(),
            Some(text) => format!("RBAC: {text}"),
        })
    }

    /// Every rule that applies to `identity` in `namespace` (empty: the cluster), and what could not be resolved.
    pub fn rules_for(
        &self,
        identity: &Identity<'_>,
        namespace: &str,
    ) -> (Vec<Rule>, Option<String>) {
        let (mut rules, mut missing) = (Vec::new(), Vec::new());
        for (grant, _) in self.grants(identity, namespace) {
            match &grant.rules {
                Ok(granted) => rules.extend_from_slice(granted),
                Err(role) if missing.contains(role) => {}
                Err(role) => missing.push(role.clone()),
            }
        }
        (rules, aggregate(&missing))
    }

    /// The rules that a binding of `namespace` (empty: the cluster) to this role would grant.
    ///
    /// # Errors
    /// 404 for a role that is not there.
    pub fn role_rules(&self, kind: &str, name: &str, namespace: &str) -> Result<&[Rule], ApiError> {
        find_role(&self.objects, kind, name, namespace).map(|rules| rules.as_slice())
    }

    /// The cluster's grants first, then the namespace's, each by the name of its binding.
    fn grants<'a>(
        &'a self,
        identity: &Identity<'_>,
        namespace: &str,
    ) -> impl Iterator<Item = (&'a Grant, usize)> {
        let cluster = self.places.get("");
        let own = (!namespace.is_empty())
            .then(|| self.places.get(namespace))
            .flatten();
        let found: Vec<_> = [cluster, own]
            .into_iter()
            .flatten()
            .flat_map(|place| place.applying(identity))
            .collect();
        found.into_iter()
    }
}

impl Place {
    fn add(&mut self, grant: Grant) {
        let index = self.grants.len();
        for (subject, said) in grant.binding.subjects.iter().enumerate() {
            let applies = Applies {
                grant: index,
                subject,
            };
            match said.meant(&grant.binding.key.namespace) {
                Meant::User(name) => self.users.entry(name).or_default().push(applies),
                Meant::Group(name) => self.groups.entry(name).or_default().push(applies),
                Meant::Nobody => {}
            }
        }
        self.grants.push(grant);
    }

    /// Each grant once, with its first subject that is meant.
    fn applying(&self, identity: &Identity<'_>) -> Vec<(&Grant, usize)> {
        let by_name = self.users.get(identity.name).into_iter();
        let by_group = identity.groups.iter().filter_map(|g| self.groups.get(g));
        let mut found: Vec<Applies> = by_name.chain(by_group).flatten().copied().collect();
        found.sort_unstable();
        found.dedup_by_key(|applies| applies.grant);
        found
            .into_iter()
            .map(|applies| (&self.grants[applies.grant], applies.subject))
            .collect()
    }
}

fn namespace_of<'a>(asked: &Attributes<'a>) -> &'a str {
    match asked.scope {
        Scope::Path(_) => "",
        Scope::Resource(resource) => resource.namespace,
    }
}

fn role_of(objects: &Objects, binding: &Binding) -> Result<Arc<Vec<Rule>>, ApiError> {
    let namespace = &binding.key.namespace;
    find_role(objects, &binding.role_kind, &binding.role, namespace).cloned()
}

fn find_role<'a>(
    objects: &'a Objects,
    kind: &str,
    name: &str,
    namespace: &str,
) -> Result<&'a Arc<Vec<Rule>>, ApiError> {
    let (namespace, resource) = match kind {
        "ClusterRole" => ("", "clusterrole"),
        "Role" if !namespace.is_empty() => (namespace, "role"),
        _ => {
            let text = format!("unsupported role reference kind: {kind:?}");
            return Err(ApiError::Internal(text));
        }
    };
    let key = Key {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    // Upstream's listers name the kind here, not the plural.
    objects.roles.get(&key).ok_or_else(|| ApiError::NotFound {
        resource: GroupName::new(super::GROUP, resource),
        name: name.to_owned(),
    })
}

fn describe(binding: &Binding, subject: usize) -> String {
    let Key { namespace, name } = &binding.key;
    let (kind, full_name) = match namespace.as_str() {
        "" => ("ClusterRoleBinding", name.clone()),
        namespace => ("RoleBinding", format!("{name}/{namespace}")),
    };
    let said = &binding.subjects[subject];
    let subject = match said.kind.as_str() {
        "ServiceAccount" => format!("{}/{}", said.name, said.account_namespace(namespace)),
        _ => said.name.clone(),
    };
    format!(
        "{kind} {full_name:?} of {} {:?} to {} {subject:?}",
        binding.role_kind, binding.role, said.kind
    )
}

/// Several errors as upstream's aggregates read: one bare, more in brackets.
fn aggregate(texts: &[String]) -> Option<String> {
    match texts {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("[{}]", many.join(", "))),
    }
}
