//! Reads `roles.txt`; the file's head says how it is written.

use serde_json::{Value, json};

use crate::rbac::{GROUP, Rule};

pub(super) struct Entry {
    /// Empty for cluster kinds.
    pub namespace: String,
    pub name: String,
    pub content: Content,
}

pub(super) enum Content {
    Role {
        rules: Vec<Rule>,
        aggregates: Option<String>,
        labelled: Option<String>,
    },
    Binding {
        role: String,
        subjects: Vec<Value>,
    },
}

/// # Errors
/// The line that cannot be read.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>, String> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut last_role = None;
    for line in text.lines() {
        let bad = || line.to_owned();
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(rule) = line.strip_prefix("  ") {
            let rule = parse_rule(rule).ok_or_else(bad)?;
            let role: Option<&mut Entry> = last_role.and_then(|at: usize| entries.get_mut(at));
            match role.map(|role| &mut role.content) {
                Some(Content::Role { rules, .. }) => rules.push(rule),
                _ => return Err(bad()),
            }
            continue;
        }
        let made = parse_head(line).ok_or_else(bad)?;
        if matches!(made.first().map(|e| &e.content), Some(Content::Role { .. })) {
            last_role = Some(entries.len());
        }
        entries.extend(made);
    }
    Ok(entries)
}

/// The entries of a line that begins one; a role comes first.
fn parse_head(line: &str) -> Option<Vec<Entry>> {
    let (word, rest) = line.split_once(' ')?;
    match word {
        "clusterrole" => {
            let mut words = rest.split(' ');
            let name = words.next()?;
            let (mut aggregates, mut labelled) = (None, None);
            while let Some(word) = words.next() {
                let place = match word {
                    "aggregates" => &mut aggregates,
                    "labelled" => &mut labelled,
                    _ => return None,
                };
                *place = Some(words.next()?.to_owned());
            }
            let mut role = role("", name);
            role.content = Content::Role {
                rules: Vec::new(),
                aggregates,
                labelled,
            };
            Some(vec![role])
        }
        "role" => {
            let (namespace, name) = rest.split_once(' ')?;
            Some(vec![role(namespace, name)])
        }
        "clusterbinding" => parse_binding("", rest).map(|binding| vec![binding]),
        "binding" => {
            let (namespace, rest) = rest.split_once(' ')?;
            parse_binding(namespace, rest).map(|binding| vec![binding])
        }
        "controller" => Some(controller(rest)),
        _ => None,
    }
}

fn controller(name: &str) -> Vec<Entry> {
    let full_name = format!("system:controller:{name}");
    let binding = |binding: String, subject: Value| Entry {
        namespace: String::new(),
        name: binding,
        content: Content::Binding {
            role: full_name.clone(),
            subjects: vec![subject],
        },
    };
    vec![
        role("", &full_name),
        binding(full_name.clone(), account("kube-system", name)),
        binding(
            format!("portcullis:{name}"),
            subject("User", "system:kube-controller-manager"),
        ),
    ]
}

fn role(namespace: &str, name: &str) -> Entry {
    Entry {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        content: Content::Role {
            rules: Vec::new(),
            aggregates: None,
            labelled: None,
        },
    }
}

/// `NAME: ROLE to SUBJECTS`
fn parse_binding(namespace: &str, text: &str) -> Option<Entry> {
    let (name, rest) = text.split_once(": ")?;
    let (role, rest) = rest.split_once(" to ")?;
    let mut subjects = Vec::new();
    let mut words = rest.split(' ');
    while let Some(word) = words.next() {
        let name = words.next()?;
        subjects.push(match word {
            "user" => subject("User", name),
            "group" => subject("Group", name),
            "account" => {
                let (namespace, name) = name.split_once('/')?;
                account(namespace, name)
            }
            _ => return None,
        });
    }
    Some(Entry {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        content: Content::Binding {
            role: role.to_owned(),
            subjects,
        },
    })
}

fn subject(kind: &str, name: &str) -> Value {
    json!({"apiGroup": GROUP, "kind": kind, "name": name})
}

fn account(namespace: &str, name: &str) -> Value {
    json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
}

/// `VERBS: RESOURCES [named NAMES] in GROUPS`, or `VERBS: PATHS`
fn parse_rule(line: &str) -> Option<Rule> {
    let (verbs, rest) = line.split_once(": ")?;
    let mut rule = Rule {
        verbs: sorted(verbs.split(' ').flat_map(spelt_out)),
        ..Rule::default()
    };
    let Some((resources, groups)) = rest.split_once(" in ") else {
        rule.non_resource_urls = sorted(rest.split(' '));
        return Some(rule);
    };
    let (resources, names) = match resources.split_once(" named ") {
        Some((resources, names)) => (resources, sorted(names.split(' '))),
        None => (resources, Vec::new()),
    };
    rule.resources = sorted(resources.split(' '));
    rule.resource_names = names;
    rule.api_groups = sorted(groups.split(' ').map(|group| match group {
        "core" => "",
        group => group,
    }));
    Some(rule)
}

fn spelt_out(verb: &str) -> Vec<&str> {
    match verb {
        "read" => vec!["get", "list", "watch"],
        "write" => vec!["create", "delete", "deletecollection", "patch", "update"],
        verb => vec![verb],
    }
}

/// As upstream's rules are: without repeats, in order.
fn sorted<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut words: Vec<String> = words.map(str::to_owned).collect();
    words.sort();
    words.dedup();
    words
}
