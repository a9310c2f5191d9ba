//! Roles and bindings as the store has them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{Policy, Rule, account_name};

/// Everything that decides about access. Parsed once per object; [`Objects::compile`] makes the index.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    /// Of cluster roles the namespace is empty; likewise of bindings.
    pub(super) roles: BTreeMap<Key, Arc<Vec<Rule>>>,
    pub(super) bindings: BTreeMap<Key, Arc<Binding>>,
}

/// Which of the two maps an object belongs to, whatever its scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RbacKind {
    Role,
    Binding,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub namespace: String,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binding {
    pub key: Key,
    pub role_kind: String,
    pub role: String,
    pub subjects: Vec<Subject>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    pub kind: String,
    pub name: String,
    /// Of ServiceAccounts, as it was said.
    pub namespace: String,
}

/// Whom a subject means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meant {
    User(String),
    Group(String),
    Nobody,
}

impl Objects {
    /// Takes an object's newest state.
    pub fn apply(&mut self, kind: RbacKind, object: &Value) {
        let key = Key {
            namespace: text(&object["metadata"], "namespace"),
            name: text(&object["metadata"], "name"),
        };
        match kind {
            RbacKind::Role => {
                self.roles.insert(key, Arc::new(Rule::all_of(object)));
            }
            RbacKind::Binding => {
                let binding = Binding::parse(key.clone(), object);
                self.bindings.insert(key, Arc::new(binding));
            }
        }
    }

    pub fn remove(&mut self, kind: RbacKind, namespace: &str, name: &str) {
        let key = Key {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        match kind {
            RbacKind::Role => drop(self.roles.remove(&key)),
            RbacKind::Binding => drop(self.bindings.remove(&key)),
        }
    }

    pub fn compile(&self) -> Policy {
        Policy::new(self)
    }
}

impl Binding {
    fn parse(key: Key, binding: &Value) -> Self {
        let subjects = binding["subjects"].as_array().into_iter().flatten();
        Self {
            key,
            role_kind: text(&binding["roleRef"], "kind"),
            role: text(&binding["roleRef"], "name"),
            subjects: subjects.map(Subject::parse).collect(),
        }
    }
}

impl Subject {
    fn parse(subject: &Value) -> Self {
        Self {
            kind: text(subject, "kind"),
            name: text(subject, "name"),
            namespace: text(subject, "namespace"),
        }
    }

    /// A ServiceAccount without a namespace is of the binding's; without either it is nobody.
    pub fn meant(&self, binding_namespace: &str) -> Meant {
        let namespace = self.account_namespace(binding_namespace);
        match self.kind.as_str() {
            "User" => Meant::User(self.name.clone()),
            "Group" => Meant::Group(self.name.clone()),
            "ServiceAccount" if !namespace.is_empty() => {
                Meant::User(account_name(namespace, &self.name))
            }
            _ => Meant::Nobody,
        }
    }

    pub fn account_namespace<'a>(&'a self, binding_namespace: &'a str) -> &'a str {
        if self.namespace.is_empty() {
            binding_namespace
        } else {
            &self.namespace
        }
    }
}

fn text(object: &Value, member: &str) -> String {
    object[member].as_str().unwrap_or_default().to_owned()
}
