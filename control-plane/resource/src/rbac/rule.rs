//! One rule of a role (`pkg/apis/rbac/v1/evaluation_helpers.go`).

use std::fmt;

use serde_json::{Map, Value, json};

use super::{Attributes, ResourceScope, Scope};

/// `rbac/v1 PolicyRule`. `*` stands for everything in all members but `resource_names`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    pub verbs: Vec<String>,
    pub api_groups: Vec<String>,
    pub resources: Vec<String>,
    /// Empty: every name, and requests without one.
    pub resource_names: Vec<String>,
    pub non_resource_urls: Vec<String>,
}

impl Rule {
    pub fn parse(rule: &Value) -> Self {
        let texts = |member: &str| {
            let items = rule[member].as_array().into_iter().flatten();
            items
                .filter_map(|item| item.as_str().map(str::to_owned))
                .collect()
        };
        Self {
            verbs: texts("verbs"),
            api_groups: texts("apiGroups"),
            resources: texts("resources"),
            resource_names: texts("resourceNames"),
            non_resource_urls: texts("nonResourceURLs"),
        }
    }

    /// The rules of a Role or ClusterRole.
    pub fn all_of(role: &Value) -> Vec<Self> {
        let rules = role["rules"].as_array().into_iter().flatten();
        rules.map(Self::parse).collect()
    }

    pub fn value(&self) -> Value {
        let mut rule = Map::new();
        let members = [
            ("verbs", &self.verbs),
            ("apiGroups", &self.api_groups),
            ("resources", &self.resources),
            ("resourceNames", &self.resource_names),
            ("nonResourceURLs", &self.non_resource_urls),
        ];
        for (name, texts) in members {
            if !texts.is_empty() || name == "verbs" {
                rule.insert(name.to_owned(), json!(texts));
            }
        }
        Value::Object(rule)
    }

    pub fn allows(&self, asked: &Attributes<'_>) -> bool {
        self.matches_verb(asked.verb)
            && match &asked.scope {
                Scope::Path(path) => self
                    .non_resource_urls
                    .iter()
                    .any(|url| matches_url(url, path)),
                Scope::Resource(resource) => {
                    self.matches_group(resource.group)
                        && self.matches_resource(resource)
                        && self.matches_name(resource.name)
                }
            }
    }

    fn matches_verb(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == ALL || v == verb)
    }

    fn matches_group(&self, group: &str) -> bool {
        self.api_groups.iter().any(|g| g == ALL || g == group)
    }

    fn matches_resource(&self, asked: &ResourceScope<'_>) -> bool {
        let ResourceScope {
            resource,
            subresource,
            ..
        } = *asked;
        self.resources.iter().any(|granted| {
            if granted == ALL {
                return true;
            }
            if subresource.is_empty() {
                return granted == resource;
            }
            let of = granted.strip_suffix(subresource);
            let of = of.and_then(|of| of.strip_suffix('/'));
            of.is_some_and(|of| of == ALL || of == resource)
        })
    }

    fn matches_name(&self, name: &str) -> bool {
        self.resource_names.is_empty() || self.resource_names.iter().any(|n| n == name)
    }
}

/// `*` ends a URL and stands for the rest, also for nothing.
pub(super) fn matches_url(granted: &str, path: &str) -> bool {
    granted == path || (granted.ends_with('*') && path.starts_with(granted.trim_end_matches('*')))
}

/// As refusals of privilege escalation show rules: `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let shown = members
            .iter()
            .filter(|(_, texts)| !texts.is_empty())
            .map(|(name, texts)| format!("{name}:{}", quoted(texts)));
        write!(f, "{{{}}}", shown.collect::<Vec<_>>().join(", "))
    }
}

/// Go's `%q` of a list: `["a" "b"]`.
pub(super) fn quoted(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", texts.join(" "))
}

/// What `cluster-admin` holds: every verb on every resource and every path.
pub fn everything() -> [Rule; 2] {
    let all = || vec![ALL.to_owned()];
    [
        Rule {
            verbs: all(),
            api_groups: all(),
            resources: all(),
            ..Rule::default()
        },
        Rule {
            verbs: all(),
            non_resource_urls: all(),
            ..Rule::default()
        },
    ]
}

pub(super) const ALL: &str = "*";
