//! The index answers as a walk over all bindings does.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::rbac::{
    Attributes, Decision, Identity, Objects, RbacKind, ResourceScope, Scope, account_name, decide,
};

const NAMES: [&str; 3] = ["a", "b", "c"];
const NAMESPACES: [&str; 3] = ["", "x", "y"];

fn some(words: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(words, 0..=2)
}

fn rule() -> impl Strategy<Value = Value> {
    let resources = some(&["pods", "pods/log", "*/log", "*", "secrets", "*/*"]);
    let urls = some(&["/a", "/a/*", "*", "/a*"]);
    (
        some(&["get", "list", "*"]),
        some(&["", "apps", "*"]),
        resources,
        some(&NAMES),
        urls,
    )
        .prop_map(|(verbs, groups, resources, names, urls)| {
            json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": names,
                "nonResourceURLs": urls})
        })
}

fn name() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&NAMES[..])
}

fn namespace() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&NAMESPACES[..])
}

fn role() -> impl Strategy<Value = Value> {
    (namespace(), name(), proptest::collection::vec(rule(), 0..3)).prop_map(
        |(namespace, name, rules)| json!({"metadata": {"namespace": namespace, "name": name}, "rules": rules}),
    )
}

fn binding() -> impl Strategy<Value = Value> {
    let kinds = proptest::sample::select(&["User", "Group", "ServiceAccount", "Robot"][..]);
    let subject = (kinds, name(), namespace()).prop_map(
        |(kind, name, namespace)| json!({"kind": kind, "name": name, "namespace": namespace}),
    );
    let of = proptest::sample::select(&["Role", "ClusterRole"][..]);
    (
        namespace(),
        name(),
        of,
        name(),
        proptest::collection::vec(subject, 0..3),
    )
        .prop_map(|(namespace, name, of, role, subjects)| {
            json!({"metadata": {"namespace": namespace, "name": name}, "roleRef": {"kind": of, "name": role},
                "subjects": subjects})
        })
}

#[derive(Debug)]
struct Question {
    user: String,
    groups: Vec<String>,
    verb: &'static str,
    path: Option<&'static str>,
    group: &'static str,
    resource: &'static str,
    subresource: &'static str,
    namespace: &'static str,
    name: &'static str,
}

fn question() -> impl Strategy<Value = Question> {
    let users = prop_oneof![
        name().prop_map(str::to_owned),
        (proptest::sample::select(&["x", "y"][..]), name())
            .prop_map(|(namespace, name)| account_name(namespace, name)),
    ];
    let what = (
        proptest::sample::select(&["get", "list", "delete"][..]),
        proptest::option::weighted(
            0.3,
            proptest::sample::select(&["/a", "/a/b", "/ab", "/"][..]),
        ),
        proptest::sample::select(&["", "apps"][..]),
        proptest::sample::select(&["pods", "secrets", "pods/log"][..]),
        proptest::sample::select(&["", "log", "exec"][..]),
    );
    let names = proptest::sample::select(&["", "a", "b"][..]);
    (users, some(&NAMES), what, namespace(), names).prop_map(
        |(user, groups, (verb, path, group, resource, subresource), namespace, name)| Question {
            user,
            groups: groups.into_iter().map(str::to_owned).collect(),
            verb,
            path,
            group,
            resource,
            subresource,
            namespace,
            name,
        },
    )
}

/// Straight from upstream's words: for every binding that could matter, for every rule of its role.
fn naive(roles: &[Value], bindings: &[Value], asked: &Question) -> bool {
    let last = |objects: &[Value], namespace: &str, name: &str| {
        let named = |o: &&Value| o["metadata"] == json!({"namespace": namespace, "name": name});
        objects.iter().rev().find(named).cloned()
    };
    bindings.iter().any(|binding| {
        let (place, name) = (
            binding["metadata"]["namespace"].as_str().unwrap(),
            binding["metadata"]["name"].as_str().unwrap(),
        );
        // A later object of the same name replaced it.
        if last(bindings, place, name).as_ref() != Some(binding) {
            return false;
        }
        let in_reach = place.is_empty() || (asked.path.is_none() && place == asked.namespace);
        let subjects = binding["subjects"].as_array().unwrap();
        let role = match binding["roleRef"]["kind"].as_str().unwrap() {
            "Role" if place.is_empty() => None,
            "Role" => last(roles, place, binding["roleRef"]["name"].as_str().unwrap()),
            _ => last(roles, "", binding["roleRef"]["name"].as_str().unwrap()),
        };
        let rules = role.map(|r| r["rules"].as_array().unwrap().clone());
        in_reach
            && subjects.iter().any(|s| means(s, place, asked))
            && rules.unwrap_or_default().iter().any(|r| allows(r, asked))
    })
}

fn means(subject: &Value, place: &str, asked: &Question) -> bool {
    let name = subject["name"].as_str().unwrap();
    match subject["kind"].as_str().unwrap() {
        "User" => asked.user == name,
        "Group" => asked.groups.iter().any(|g| g == name),
        "ServiceAccount" => {
            let own = subject["namespace"].as_str().unwrap();
            let namespace = if own.is_empty() { place } else { own };
            !namespace.is_empty()
                && asked.user == format!("system:serviceaccount:{namespace}:{name}")
        }
        _ => false,
    }
}

fn allows(rule: &Value, asked: &Question) -> bool {
    let has = |member: &str, wanted: &str| {
        let items = rule[member].as_array().unwrap();
        items.iter().any(|item| item == wanted)
    };
    if !has("verbs", "*") && !has("verbs", asked.verb) {
        return false;
    }
    if let Some(path) = asked.path {
        let urls = rule["nonResourceURLs"].as_array().unwrap();
        return urls.iter().any(|url| {
            let url = url.as_str().unwrap();
            url == path
                || url
                    .strip_suffix('*')
                    .is_some_and(|start| path.starts_with(start))
        });
    }
    let combined = match asked.subresource {
        "" => asked.resource.to_owned(),
        sub => format!("{}/{sub}", asked.resource),
    };
    let by_resource = has("resources", "*")
        || has("resources", &combined)
        || (!asked.subresource.is_empty() && has("resources", &format!("*/{}", asked.subresource)));
    let by_name =
        rule["resourceNames"].as_array().unwrap().is_empty() || has("resourceNames", asked.name);
    (has("apiGroups", "*") || has("apiGroups", asked.group)) && by_resource && by_name
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn the_index_agrees_with_a_walk_over_all_bindings(
        roles in proptest::collection::vec(role(), 0..6),
        bindings in proptest::collection::vec(binding(), 0..8),
        questions in proptest::collection::vec(question(), 1..12),
    ) {
        let mut objects = Objects::default();
        roles.iter().for_each(|role| objects.apply(RbacKind::Role, role));
        bindings.iter().for_each(|binding| objects.apply(RbacKind::Binding, binding));
        let policy = objects.compile();
        for asked in &questions {
            let scope = match asked.path {
                Some(path) => Scope::Path(path),
                None => Scope::Resource(ResourceScope {
                    group: asked.group,
                    resource: asked.resource,
                    subresource: asked.subresource,
                    namespace: asked.namespace,
                    name: asked.name,
                }),
            };
            let identity = Identity { name: &asked.user, groups: &asked.groups };
            let decision = decide(Some(&policy), &identity, &Attributes { verb: asked.verb, scope });
            prop_assert_eq!(decision.allows(), naive(&roles, &bindings, asked), "{:?}", asked);
            let (rules, _) = policy.rules_for(&identity, asked.namespace);
            let by_rules = rules.iter().any(|r| r.allows(&Attributes { verb: asked.verb, scope }));
            if asked.path.is_none() {
                prop_assert_eq!(by_rules, decision.allows(), "the rules that are shown are those that count");
            }
            if let Decision::Allow(reason) = &decision {
                prop_assert!(reason.starts_with("RBAC: allowed by "));
            }
        }
    }
}
