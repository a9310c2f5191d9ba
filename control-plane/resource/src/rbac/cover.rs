//! Whether what somebody holds covers what they want to give away
//! (`component-helpers/auth/rbac/validation/policy_comparator.go`).

use super::Rule;
use super::rule::{ALL, matches_url};

/// What of `wanted` no single rule of `held` grants, broken down to one verb, one resource and one name each.
pub(super) fn uncovered(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    wanted
        .iter()
        .flat_map(breakdown)
        .filter(|atom| !held.iter().any(|rule| covers(rule, atom)))
        .collect()
}

/// A rule as atoms: each is covered by one rule as a whole, or not at all.
fn breakdown(rule: &Rule) -> Vec<Rule> {
    let one = |text: &String| vec![text.clone()];
    let mut atoms = Vec::new();
    let names: Vec<Vec<String>> = match rule.resource_names.as_slice() {
        [] => vec![Vec::new()],
        names => names.iter().map(one).collect(),
    };
    for group in &rule.api_groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                atoms.extend(names.iter().map(|name| Rule {
                    verbs: one(verb),
                    api_groups: one(group),
                    resources: one(resource),
                    resource_names: name.clone(),
                    non_resource_urls: Vec::new(),
                }));
            }
        }
    }
    for url in &rule.non_resource_urls {
        atoms.extend(rule.verbs.iter().map(|verb| Rule {
            verbs: one(verb),
            non_resource_urls: one(url),
            ..Rule::default()
        }));
    }
    atoms
}

fn covers(held: &Rule, atom: &Rule) -> bool {
    has_all(&held.verbs, &atom.verbs)
        && has_all(&held.api_groups, &atom.api_groups)
        && atom
            .resources
            .iter()
            .all(|wanted| covers_resource(&held.resources, wanted))
        && (held.resource_names.is_empty()
            || (!atom.resource_names.is_empty()
                && atom
                    .resource_names
                    .iter()
                    .all(|name| held.resource_names.contains(name))))
        && atom.non_resource_urls.iter().all(|wanted| {
            held.non_resource_urls
                .iter()
                .any(|url| matches_url(url, wanted))
        })
}

fn has_all(held: &[String], wanted: &[String]) -> bool {
    held.iter().any(|text| text == ALL) || wanted.iter().all(|text| held.contains(text))
}

fn covers_resource(held: &[String], wanted: &str) -> bool {
    let any_subresource = wanted.split_once('/').map(|(_, sub)| format!("*/{sub}"));
    held.iter()
        .any(|h| h == ALL || h == wanted || any_subresource.as_ref() == Some(h))
}

/// Rules that differ in nothing but the verb, as one (`validation.CompactRules`). Only for people to read.
pub(super) fn compact(rules: Vec<Rule>) -> Vec<Rule> {
    let mut compacted: Vec<Rule> = Vec::new();
    for rule in rules {
        let simple = rule.non_resource_urls.is_empty();
        let known = compacted.iter_mut().find(|known| {
            simple
                && known.non_resource_urls.is_empty()
                && known.api_groups == rule.api_groups
                && known.resources == rule.resources
                && known.resource_names == rule.resource_names
        });
        match known {
            Some(known) => known.verbs.extend(rule.verbs),
            None => compacted.push(rule),
        }
    }
    compacted
}
