//! Single facts, and the index against a naive twin: every binding, one after the other.

mod twin;

use serde_json::{Value, json};

use super::escalation::{self, Write};
use super::impersonation::Impersonated;
use super::{
    Attributes, Decision, Identity, Objects, Policy, RbacKind, ResourceScope, Scope, decide,
    split_account_name,
};
use crate::kind;

fn resource<'a>(verb: &'a str, resource: &'a str, namespace: &'a str) -> Attributes<'a> {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    Attributes {
        verb,
        scope: Scope::Resource(ResourceScope {
            group: "",
            resource,
            subresource,
            namespace,
            name: "",
        }),
    }
}

fn role(namespace: &str, name: &str, rules: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": namespace}, "rules": rules})
}

fn binding(namespace: &str, name: &str, role: (&str, &str), subject: Value) -> Value {
    json!({
        "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"kind": role.0, "name": role.1},
        "subjects": [subject],
    })
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "name": name})
}

fn reader() -> Value {
    json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"]}])
}

fn policy(roles: &[Value], bindings: &[Value]) -> Policy {
    let mut objects = Objects::default();
    for role in roles {
        objects.apply(RbacKind::Role, role);
    }
    for binding in bindings {
        objects.apply(RbacKind::Binding, binding);
    }
    objects.compile()
}

fn ask(policy: &Policy, name: &str, groups: &[&str], asked: &Attributes<'_>) -> Decision {
    let groups: Vec<String> = groups.iter().map(|g| (*g).to_owned()).collect();
    let identity = Identity {
        name,
        groups: &groups,
    };
    decide(Some(policy), &identity, asked)
}

#[test]
fn an_allowed_question_says_by_which_binding() {
    let policy = policy(
        &[role("", "reader", reader())],
        &[binding(
            "shop",
            "readers",
            ("ClusterRole", "reader"),
            json!({"kind": "ServiceAccount", "name": "bob"}),
        )],
    );
    let account = "system:serviceaccount:shop:bob";
    assert_eq!(
        ask(&policy, account, &[], &resource("get", "pods/log", "shop")),
        Decision::Allow(
            r#"RBAC: allowed by RoleBinding "readers/shop" of ClusterRole "reader" to ServiceAccount "bob/shop""#.into()
        )
    );
    let nothing = Decision::Deny(String::new());
    for (verb, asked, namespace) in [
        ("get", "pods", "other"),
        ("list", "pods", ""),
        ("delete", "pods", "shop"),
        ("get", "pods/exec", "shop"),
    ] {
        assert_eq!(
            ask(&policy, account, &[], &resource(verb, asked, namespace)),
            nothing
        );
    }
}

#[test]
fn a_missing_role_grants_nothing_and_is_named() {
    let policy = policy(
        &[],
        &[
            binding("", "a", ("ClusterRole", "gone"), user("jane")),
            binding("shop", "b", ("Role", "lost"), user("jane")),
        ],
    );
    assert_eq!(
        ask(&policy, "jane", &[], &resource("get", "pods", "shop")),
        Decision::Deny(
            "RBAC: [clusterrole.rbac.authorization.k8s.io \"gone\" not found, \
             role.rbac.authorization.k8s.io \"lost\" not found]"
                .into()
        )
    );
}

#[test]
fn masters_may_everything_and_nobody_else_may_before_the_roles_are_read() {
    let asked = resource("delete", "secrets", "kube-system");
    let masters = ["system:masters".to_owned()];
    let of = |groups| Identity { name: "x", groups };
    assert!(decide(None, &of(&masters), &asked).allows());
    assert!(!decide(None, &of(&[]), &asked).allows());
}

#[test]
fn refusals_read_as_upstreams() {
    assert_eq!(
        resource("list", "pods/log", "default").refusal("x", ""),
        "User \"x\" cannot list resource \"pods/log\" in API group \"\" in the namespace \"default\""
    );
    assert_eq!(
        resource("list", "nodes", "").refusal("x", "because"),
        "User \"x\" cannot list resource \"nodes\" in API group \"\" at the cluster scope: because"
    );
    let path = Attributes {
        verb: "post",
        scope: Scope::Path("/metrics"),
    };
    assert_eq!(
        path.refusal("x", ""),
        "User \"x\" cannot post path \"/metrics\""
    );
}

/// What `jane`, who may read pods in `shop`, is told when she writes `new`.
fn written_by_jane(plural: &str, new: &Value, old: Option<&Value>) -> Result<(), String> {
    let extra = json!([{"verbs": ["bind"], "apiGroups": [super::GROUP], "resources": ["clusterroles"], "resourceNames": ["free"]}]);
    let policy = policy(
        &[
            role("", "reader", reader()),
            role("", "binder", extra),
            role(
                "",
                "free",
                json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]),
            ),
            role(
                "",
                "strong",
                json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]),
            ),
        ],
        &[
            binding("shop", "r", ("ClusterRole", "reader"), user("jane")),
            binding("shop", "b", ("ClusterRole", "binder"), user("jane")),
        ],
    );
    let identity = Identity {
        name: "jane",
        groups: &["system:authenticated".to_owned()],
    };
    let kind = kind::by_resource(super::GROUP, "v1", plural).unwrap();
    let write = Write {
        kind,
        namespace: if kind.namespaced { "shop" } else { "" },
        name: "",
        old,
        new,
    };
    let authorize = |asked: &Attributes<'_>| decide(Some(&policy), &identity, asked);
    escalation::check(Some(&policy), &identity, authorize, &write).map_err(|e| e.to_string())
}

#[test]
fn nobody_grants_what_they_do_not_hold() {
    assert_eq!(
        written_by_jane("roles", &role("shop", "r", reader()), None),
        Ok(())
    );
    let more = json!([{"verbs": ["get", "delete"], "apiGroups": [""], "resources": ["pods"]},
        {"verbs": ["watch"], "apiGroups": [""], "resources": ["pods"]}]);
    let more = role("shop", "r", more);
    assert_eq!(
        written_by_jane("roles", &more, None).unwrap_err(),
        "roles.rbac.authorization.k8s.io \"r\" is forbidden: user \"jane\" (groups=[\"system:authenticated\"]) is \
         attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\" \"watch\"]}"
    );
    // What she holds in one namespace she does not hold in the cluster.
    assert!(written_by_jane("clusterroles", &role("", "r", reader()), None).is_err());
    let mut collected = more.clone();
    collected["metadata"]["finalizers"] = json!(["x"]);
    assert_eq!(written_by_jane("roles", &more, Some(&collected)), Ok(()));
}

#[test]
fn a_binding_grants_what_its_role_does() {
    let to = |kind, name| binding("shop", "x", (kind, name), user("eve"));
    assert_eq!(
        written_by_jane("rolebindings", &to("ClusterRole", "reader"), None),
        Ok(())
    );
    assert_eq!(
        written_by_jane("rolebindings", &to("ClusterRole", "free"), None),
        Ok(())
    );
    assert!(written_by_jane("rolebindings", &to("ClusterRole", "strong"), None).is_err());
    assert!(written_by_jane("clusterrolebindings", &to("ClusterRole", "free"), None).is_err());
    assert_eq!(
        written_by_jane("rolebindings", &to("Role", "none"), None).unwrap_err(),
        "role.rbac.authorization.k8s.io \"none\" not found"
    );
}

#[test]
fn only_administrators_aggregate() {
    let mut gathering = role("", "g", json!([]));
    gathering["aggregationRule"] = json!({"clusterRoleSelectors": []});
    assert!(
        written_by_jane("clusterroles", &gathering, None)
            .unwrap_err()
            .contains("must have cluster-admin privileges to use aggregationRule")
    );
}

fn impersonated(headers: &[(&str, &str)]) -> Option<Impersonated> {
    Impersonated::parse(headers.iter().copied()).unwrap()
}

#[test]
fn each_part_of_an_impersonation_is_a_question() {
    let whom = impersonated(&[
        ("impersonate-user", "jane"),
        ("impersonate-group", "devs"),
        ("impersonate-extra-Some%2fkey", "v"),
        ("impersonate-uid", "u"),
        ("accept", "x"),
    ])
    .unwrap();
    let asked: Vec<String> = whom
        .questions()
        .iter()
        .map(|question| question.refusal("me", ""))
        .collect();
    assert_eq!(
        asked,
        [
            "User \"me\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope",
            "User \"me\" cannot impersonate resource \"groups\" in API group \"\" at the cluster scope",
            "User \"me\" cannot impersonate resource \"uids\" in API group \"authentication.k8s.io\" at the cluster scope",
            "User \"me\" cannot impersonate resource \"userextras/some/key\" in API group \"authentication.k8s.io\" at the cluster scope",
        ]
    );
    assert_eq!(whom.all_groups(), ["devs", "system:authenticated"]);
    assert_eq!(impersonated(&[("accept", "x")]), None);
    assert!(Impersonated::parse([("impersonate-group", "devs")].into_iter()).is_err());
}

#[test]
fn impersonated_accounts_and_nobody_have_their_own_groups() {
    let account = impersonated(&[("impersonate-user", "system:serviceaccount:shop:bob")]).unwrap();
    assert_eq!(
        account.all_groups(),
        [
            "system:serviceaccounts",
            "system:serviceaccounts:shop",
            "system:authenticated"
        ]
    );
    assert_eq!(
        account.questions()[0].refusal("me", ""),
        "User \"me\" cannot impersonate resource \"serviceaccounts\" in API group \"\" in the namespace \"shop\""
    );
    let nobody = impersonated(&[("impersonate-user", "system:anonymous")]).unwrap();
    assert_eq!(nobody.all_groups(), ["system:unauthenticated"]);
    assert_eq!(split_account_name("system:serviceaccount:a:b:c"), None);
}
