use std::collections::BTreeSet;

use serde_json::json;

use super::{Reconciled, objects, reconcile};
use crate::codec::{FieldValidation, decode_value};
use crate::rbac::{Objects, RbacKind, Rule};
use crate::validate;

fn find(plural: &str, name: &str) -> serde_json::Value {
    let found = objects()
        .into_iter()
        .find(|o| o.kind.plural == plural && o.name == name);
    found.unwrap_or_else(|| panic!("{plural} {name}")).object
}

#[test]
fn every_object_is_valid_and_named_once() {
    let mut seen = BTreeSet::new();
    for made in objects() {
        let strict = FieldValidation::Strict;
        let decoded = decode_value(made.kind.root_type, &made.object, strict);
        let decoded = decoded
            .unwrap_or_else(|e| panic!("{}: {e}", made.name))
            .object;
        validate::create(made.kind, &decoded).unwrap_or_else(|e| panic!("{e}"));
        assert!(
            seen.insert((made.kind.plural, made.namespace, made.name.clone())),
            "{} is there twice",
            made.name
        );
    }
}

#[test]
fn every_binding_finds_its_role() {
    let mut policy = Objects::default();
    for made in objects() {
        let kind = match made.kind.plural {
            "roles" | "clusterroles" => RbacKind::Role,
            _ => RbacKind::Binding,
        };
        policy.apply(kind, &made.object);
    }
    let policy = policy.compile();
    for made in objects().iter().filter(|m| m.object["roleRef"].is_object()) {
        let text = |member: &str| made.object["roleRef"][member].as_str().unwrap();
        let rules = policy.role_rules(text("kind"), text("name"), &made.namespace);
        assert!(!rules.unwrap_or_else(|e| panic!("{e}")).is_empty());
    }
}

#[test]
fn rules_read_as_upstreams() {
    let scheduler = find("clusterroles", "system:kube-scheduler");
    assert_eq!(
        scheduler["rules"][0],
        json!({"verbs": ["create", "patch", "update"], "apiGroups": ["", "events.k8s.io"], "resources": ["events"]})
    );
    assert_eq!(
        find("clusterroles", "edit"),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {
                "name": "edit",
                "labels": {
                    "kubernetes.io/bootstrapping": "rbac-defaults",
                    "rbac.authorization.k8s.io/aggregate-to-admin": "true",
                },
                "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
            },
            "aggregationRule": {"clusterRoleSelectors": [
                {"matchLabels": {"rbac.authorization.k8s.io/aggregate-to-edit": "true"}},
            ]},
            "rules": null,
        })
    );
    assert_eq!(
        find("clusterroles", "cluster-admin")["rules"],
        json!([
            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
            {"verbs": ["*"], "nonResourceURLs": ["*"]},
        ])
    );
    assert_eq!(
        find(
            "clusterrolebindings",
            "system:controller:namespace-controller"
        )["subjects"],
        json!([{"kind": "ServiceAccount", "name": "namespace-controller", "namespace": "kube-system"}])
    );
}

#[test]
fn what_was_taken_away_comes_back_and_what_was_added_stays() {
    let wanted = find("clusterroles", "system:basic-user");
    assert_eq!(reconcile(&wanted, &wanted), Reconciled::Keep);
    let mut found = wanted.clone();
    found["metadata"]["uid"] = json!("u");
    found["metadata"]["labels"] = json!({"mine": "too"});
    found["rules"] = json!([
        {"verbs": ["create"], "apiGroups": ["authorization.k8s.io"], "resources": ["selfsubjectaccessreviews"]},
        {"verbs": ["get"], "nonResourceURLs": ["/mine"]},
    ]);
    let Reconciled::Write(written) = reconcile(&found, &wanted) else {
        panic!("is corrected");
    };
    assert_eq!(written["metadata"]["uid"], "u");
    let labels = json!({"mine": "too", "kubernetes.io/bootstrapping": "rbac-defaults"});
    assert_eq!(written["metadata"]["labels"], labels);
    let rules: Vec<String> = Rule::all_of(&written)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        rules,
        [
            r#"{APIGroups:["authorization.k8s.io"], Resources:["selfsubjectaccessreviews"], Verbs:["create"]}"#,
            r#"{NonResourceURLs:["/mine"], Verbs:["get"]}"#,
            r#"{APIGroups:["authorization.k8s.io"], Resources:["selfsubjectrulesreviews"], Verbs:["create"]}"#,
            r#"{APIGroups:["authentication.k8s.io"], Resources:["selfsubjectreviews"], Verbs:["create"]}"#,
        ]
    );
    assert_eq!(reconcile(&written, &wanted), Reconciled::Keep);
    found["metadata"]["annotations"] =
        json!({"rbac.authorization.kubernetes.io/autoupdate": "false"});
    assert_eq!(reconcile(&found, &wanted), Reconciled::Keep);
}

#[test]
fn bindings_get_their_subjects_back_and_another_role_is_replaced() {
    let wanted = find("clusterrolebindings", "system:public-info-viewer");
    let mut found = wanted.clone();
    let jane = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"});
    found["subjects"] = json!([jane]);
    let Reconciled::Write(written) = reconcile(&found, &wanted) else {
        panic!("is corrected");
    };
    assert_eq!(written["subjects"].as_array().map(Vec::len), Some(3));
    found["roleRef"]["name"] = json!("cluster-admin");
    assert_eq!(reconcile(&found, &wanted), Reconciled::Replace);
}

#[test]
fn aggregated_roles_keep_the_rules_that_were_gathered() {
    let wanted = find("clusterroles", "view");
    let mut found = wanted.clone();
    found["rules"] = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
    assert_eq!(reconcile(&found, &wanted), Reconciled::Keep);
    found["aggregationRule"] = json!({"clusterRoleSelectors": []});
    let Reconciled::Write(written) = reconcile(&found, &wanted) else {
        panic!("is corrected");
    };
    assert_eq!(written["aggregationRule"], wanted["aggregationRule"]);
    assert_eq!(written["rules"], found["rules"]);
}
