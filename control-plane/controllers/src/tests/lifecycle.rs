//! Beginnings and ends: default objects, cascading deletion, namespaces, shutdown.

use serde_json::{Value, json};

use super::*;

fn owned_map(name: &str, owner: &Value, blocking: bool) -> Value {
    json!({
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "ownerReferences": [{
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"],
                "blockOwnerDeletion": blocking,
            }],
        },
    })
}

fn map(name: &str) -> Value {
    json!({"kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop"}})
}

fn has_map(fake: &Fake, wanted: &str) -> bool {
    fake.list("configmaps")
        .iter()
        .any(|map| name(map) == wanted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_namespace_gets_its_account_and_its_ca() {
    let world = World::start();
    let fake = &world.fake;
    let complete = |fake: &Fake| {
        let ca = fake
            .list("configmaps")
            .into_iter()
            .find(|map| name(map) == "kube-root-ca.crt");
        fake.list("serviceaccounts")
            .iter()
            .any(|account| name(account) == "default")
            && ca.is_some_and(|map| map["data"]["ca.crt"] == "the ca")
    };
    fake.until("both are made", complete).await;
    fake.delete("serviceaccounts", "shop", "default");
    fake.edit("configmaps", "shop", "kube-root-ca.crt", |map| {
        map["data"] = json!({"ca.crt": "forged"})
    });
    fake.until("both are restored", complete).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dependents_go_with_their_owner() {
    let world = World::start();
    let fake = &world.fake;
    let owner = fake.create(map("owner"));
    let child = fake.create(owned_map("child", &owner, false));
    fake.create(owned_map("grandchild", &child, false));
    fake.until("the controllers are up", |fake| {
        has_map(fake, "kube-root-ca.crt")
    })
    .await;
    fake.delete("configmaps", "shop", "owner");
    fake.until("all are collected", |fake| {
        !has_map(fake, "child") && !has_map(fake, "grandchild")
    })
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_whose_owner_never_was_goes_too() {
    let world = World::start();
    let fake = &world.fake;
    let ghost = json!({"metadata": {"name": "ghost", "uid": "uid-ghost"}});
    fake.create(owned_map("child", &ghost, false));
    fake.until("it is collected", |fake| !has_map(fake, "child"))
        .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreground_deletion_waits_for_blocking_dependents() {
    let world = World::start();
    let fake = &world.fake;
    let owner = fake.create(map("owner"));
    fake.create(owned_map("child", &owner, true));
    fake.edit("configmaps", "shop", "child", |child| {
        child["metadata"]["finalizers"] = json!(["example.com/hold"])
    });
    fake.edit("configmaps", "shop", "owner", |owner| {
        owner["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        owner["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
    });
    fake.until("the child is told to go", |fake| {
        fake.list("configmaps")
            .iter()
            .any(|map| name(map) == "child" && is_going(map))
    })
    .await;
    assert!(has_map(fake, "owner"), "the owner waits");
    fake.vanish("configmaps", "shop", "child");
    fake.until("the owner goes last", |fake| !has_map(fake, "owner"))
        .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphaning_lets_dependents_stay() {
    let world = World::start();
    let fake = &world.fake;
    let owner = fake.create(map("owner"));
    fake.create(owned_map("child", &owner, true));
    fake.edit("configmaps", "shop", "owner", |owner| {
        owner["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        owner["metadata"]["finalizers"] = json!(["orphan"]);
    });
    fake.until("the owner is gone", |fake| !has_map(fake, "owner"))
        .await;
    let child = fake
        .list("configmaps")
        .into_iter()
        .find(|map| name(map) == "child")
        .expect("the child stays");
    assert_eq!(child["metadata"]["ownerReferences"], json!([]));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_is_emptied_pods_first() {
    let world = World::start();
    let fake = &world.fake;
    fake.create(map("settings"));
    fake.create(json!({
        "kind": "Pod",
        "metadata": {"name": "worker", "namespace": "shop"},
        "spec": {"containers": [{"name": "worker"}]},
    }));
    fake.until("the pod is bound", |fake| {
        fake.list("pods")[0]["spec"]["nodeName"] == "one"
    })
    .await;
    fake.delete("namespaces", "", "shop");
    fake.until("the pod is told to stop", |fake| {
        fake.list("pods").iter().any(is_going)
    })
    .await;
    fake.until("the status says what remains", |fake| {
        let conditions = fake.list("namespaces")[0]["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        conditions
            .iter()
            .any(|condition| condition["reason"] == "SomeResourcesRemain")
    })
    .await;
    assert!(has_map(fake, "settings"), "pods go first");
    fake.vanish("pods", "shop", "worker");
    fake.until("nothing is left", |fake| fake.list("namespaces").is_empty())
        .await;
    assert!(!has_map(fake, "settings"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aggregated_role_follows_what_it_selects() {
    let world = World::start();
    let fake = &world.fake;
    let labelled = |name: &str, labels: Value, resource: &str| {
        json!({
            "kind": "ClusterRole",
            "metadata": {"name": name, "labels": labels},
            "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": [resource]}],
        })
    };
    let to_view = json!({"to-view": "true", "to-edit": "true"});
    fake.create(labelled("pods", to_view.clone(), "pods"));
    fake.create(labelled("secrets", json!({}), "secrets"));
    fake.create(json!({
        "kind": "ClusterRole",
        "metadata": {"name": "view"},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to-view": "true"}}]},
    }));
    let granted = |fake: &Fake| -> Vec<String> {
        let roles = fake.list("clusterroles");
        let view = roles.iter().find(|role| name(role) == "view");
        let rules = view.map(|role| role["rules"].as_array().cloned().unwrap_or_default());
        let rules = rules.unwrap_or_default();
        rules
            .iter()
            .map(|rule| rule["resources"][0].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    fake.until("view holds what is labelled", |fake| {
        granted(fake) == ["pods"]
    })
    .await;
    fake.create(labelled("jobs", to_view, "jobs"));
    fake.until("a new role is added", |fake| {
        granted(fake) == ["jobs", "pods"]
    })
    .await;
    fake.vanish("clusterroles", "", "pods");
    fake.until("a lost role is dropped", |fake| granted(fake) == ["jobs"])
        .await;
    world.stop().await;
}
