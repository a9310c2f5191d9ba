use std::collections::BTreeMap;

use http::Method;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::server::{CONFIG_MAPS, Server, ask, config_map, create, delete, get, patch, post};

fn web() -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "echo:1", "ports": [{"containerPort": 8080}]}]},
            },
        },
    }))
    .expect("a Deployment")
}

#[tokio::test]
async fn a_deployment_lives_through_typed_requests() {
    let server = Server::start().await;
    let api: Api<Deployment> = Api::default_namespaced(server.client().await);
    let made = api
        .create(&PostParams::default(), &web())
        .await
        .expect("creates");
    assert_eq!(made.metadata.generation, Some(1));
    assert_eq!(made.spec.revision_history_limit, Some(10));

    let strategic = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "echo:2"}]}}}});
    let patched = api
        .patch("web", &PatchParams::default(), &Patch::Strategic(strategic))
        .await;
    let patched = patched.expect("patches");
    assert_eq!(patched.metadata.generation, Some(2));
    let containers = patched
        .spec
        .template
        .spec
        .map(|s| s.containers)
        .unwrap_or_default();
    assert_eq!(
        (containers.len(), containers[0].image.as_deref()),
        (1, Some("echo:2"))
    );
    assert!(containers[0].ports.is_some());

    let error = api
        .replace("web", &PostParams::default(), &made)
        .await
        .expect_err("is old");
    assert!(
        error.to_string().contains("the object has been modified"),
        "{error}"
    );

    let five = Patch::Merge(json!({"spec": {"replicas": 5}}));
    let scale = api.patch_scale("web", &PatchParams::default(), &five).await;
    assert_eq!(
        scale.expect("scales").spec.and_then(|s| s.replicas),
        Some(5)
    );
    let status = json!({"status": {"readyReplicas": 1, "replicas": 5}, "spec": {"replicas": 9}});
    let status = api
        .patch_status("web", &PatchParams::default(), &Patch::Merge(status))
        .await
        .expect("patches");
    assert_eq!(status.status.and_then(|s| s.ready_replicas), Some(1));
    assert_eq!(status.spec.replicas, Some(5));
    assert_eq!(status.metadata.generation, Some(3));

    api.delete("web", &DeleteParams::background())
        .await
        .expect("deletes");
    let gone = api.get("web").await.expect_err("is gone");
    assert!(
        gone.to_string()
            .contains("deployments.apps \"web\" not found"),
        "{gone}"
    );
}

#[tokio::test]
async fn writes_that_change_nothing_keep_the_version() {
    let server = Server::start().await;
    let client = server.client().await;
    let made = create(&client, CONFIG_MAPS, &config_map("a", "1")).await;
    let same = patch(
        &client,
        &format!("{CONFIG_MAPS}/a"),
        &json!({"data": {"k": "1"}}),
    )
    .await;
    assert_eq!(
        same.json()["metadata"]["resourceVersion"],
        made["metadata"]["resourceVersion"]
    );
}

#[tokio::test]
async fn names_are_generated_and_taken_names_refused() {
    let server = Server::start().await;
    let client = server.client().await;
    let generated = json!({"metadata": {"generateName": "a-"}});
    let made = create(&client, CONFIG_MAPS, &generated).await;
    let name = made["metadata"]["name"].as_str().unwrap_or_default();
    assert_eq!((name.len(), &name[..2]), (7, "a-"));
    create(&client, CONFIG_MAPS, &config_map("a", "1")).await;
    let again = post(&client, CONFIG_MAPS, &config_map("a", "1")).await;
    assert_eq!(
        (again.code.as_u16(), again.json()["reason"].as_str()),
        (409, Some("AlreadyExists"))
    );
}

#[tokio::test]
async fn concurrent_patches_all_count() {
    let server = Server::start().await;
    let client = server.client().await;
    create(&client, CONFIG_MAPS, &config_map("a", "1")).await;
    let patches = (0..20).map(|i| {
        let client = client.clone();
        async move {
            let body = json!({"data": {format!("k{i}"): "v"}});
            patch(&client, &format!("{CONFIG_MAPS}/a"), &body)
                .await
                .code
        }
    });
    let codes = futures::future::join_all(patches).await;
    assert!(codes.iter().all(|code| *code == 200), "{codes:?}");
    let found = get(&client, &format!("{CONFIG_MAPS}/a")).await.json();
    assert_eq!(
        found["data"].as_object().map(serde_json::Map::len),
        Some(21)
    );
}

#[tokio::test]
async fn dry_runs_store_nothing() {
    let server = Server::start().await;
    let client = server.client().await;
    let path = format!("{CONFIG_MAPS}?dryRun=All");
    create(&client, &path, &config_map("a", "1")).await;
    assert_eq!(get(&client, &format!("{CONFIG_MAPS}/a")).await.code, 404);
    create(&client, CONFIG_MAPS, &config_map("a", "1")).await;
    assert_eq!(
        delete(&client, &format!("{CONFIG_MAPS}/a?dryRun=All"))
            .await
            .code,
        200
    );
    assert_eq!(get(&client, &format!("{CONFIG_MAPS}/a")).await.code, 200);
}

#[tokio::test]
async fn finalizers_hold_an_object_until_they_are_gone() {
    let server = Server::start().await;
    let client = server.client().await;
    let mut held = config_map("a", "1");
    held["metadata"]["finalizers"] = json!(["example.com/wait"]);
    create(&client, CONFIG_MAPS, &held).await;
    let path = format!("{CONFIG_MAPS}/a");
    let marked = delete(&client, &path).await.json();
    assert!(
        marked["metadata"]["deletionTimestamp"].is_string(),
        "{marked}"
    );
    assert_eq!(get(&client, &path).await.code, 200);
    let freed = patch(&client, &path, &json!({"metadata": {"finalizers": null}})).await;
    assert_eq!(freed.code, 200);
    assert_eq!(get(&client, &path).await.code, 404);
}

#[tokio::test]
async fn collections_are_deleted_by_selector() {
    let server = Server::start().await;
    let client = server.client().await;
    for (name, app) in [("a", "x"), ("b", "x"), ("c", "y")] {
        let mut map = config_map(name, "1");
        map["metadata"]["labels"] = json!({"app": app});
        create(&client, CONFIG_MAPS, &map).await;
    }
    assert_eq!(
        delete(&client, &format!("{CONFIG_MAPS}?labelSelector=app%3Dx"))
            .await
            .code,
        200
    );
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    let left = api.list(&ListParams::default()).await.expect("lists");
    let names: Vec<_> = left
        .items
        .into_iter()
        .filter_map(|m| m.metadata.name)
        .collect();
    assert_eq!(names, ["c"]);
}

#[tokio::test]
async fn namespaces_guard_what_is_in_them() {
    let server = Server::start().await;
    let client = server.client().await;
    let missing = post(
        &client,
        "/api/v1/namespaces/nowhere/configmaps",
        &config_map("a", "1"),
    )
    .await;
    assert_eq!(missing.code, 404);
    assert_eq!(
        missing.json()["message"],
        "namespaces \"nowhere\" not found"
    );
    create(
        &client,
        "/api/v1/namespaces",
        &json!({"metadata": {"name": "shop"}}),
    )
    .await;
    assert_eq!(
        delete(&client, "/api/v1/namespaces/shop").await.json()["status"]["phase"],
        "Terminating"
    );
    let closed = post(
        &client,
        "/api/v1/namespaces/shop/configmaps",
        &config_map("a", "1"),
    )
    .await;
    assert_eq!(closed.code, 403);
    assert_eq!(
        closed.json()["details"]["causes"][0]["reason"],
        "NamespaceTerminating"
    );
    let done = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}, "spec": {"finalizers": []}});
    let json = [("content-type", "application/json")];
    let finalized = ask(
        &client,
        Method::PUT,
        "/api/v1/namespaces/shop/finalize",
        &json,
        done.to_string(),
    )
    .await;
    assert_eq!(finalized.code, 200, "{}", finalized.text);
    assert_eq!(get(&client, "/api/v1/namespaces/shop").await.code, 404);
    assert_eq!(
        delete(&client, "/api/v1/namespaces/default").await.code,
        403
    );
}

#[tokio::test]
async fn pods_are_admitted_bound_once_and_evicted() {
    let server = Server::start().await;
    let client = server.client().await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": "echo:1"}]}});
    let early = post(&client, pods, &pod).await;
    assert_eq!(early.code, 403);
    assert!(
        early
            .text
            .contains("serviceaccount \\\"default\\\" not found"),
        "{}",
        early.text
    );
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    create(&client, accounts, &json!({"metadata": {"name": "default"}})).await;
    let made = create(&client, pods, &pod).await;
    assert_eq!(made["spec"]["serviceAccountName"], "default");
    assert_eq!(made["status"]["phase"], "Pending");
    let binding = json!({"metadata": {"name": "web"}, "target": {"kind": "Node", "name": "a"}});
    create(&client, &format!("{pods}/web/binding"), &binding).await;
    assert_eq!(
        post(&client, &format!("{pods}/web/binding"), &binding)
            .await
            .code,
        409
    );
    let bound = get(&client, &format!("{pods}?fieldSelector=spec.nodeName%3Da"))
        .await
        .json();
    assert_eq!(bound["items"][0]["metadata"]["name"], "web");
    let eviction =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web"}});
    create(&client, &format!("{pods}/web/eviction"), &eviction).await;
    let leaving = get(&client, &format!("{pods}/web")).await.json();
    assert_eq!(leaving["metadata"]["deletionGracePeriodSeconds"], 30);
    let now = json!({"gracePeriodSeconds": 0}).to_string();
    let json = [("content-type", "application/json")];
    ask(&client, Method::DELETE, &format!("{pods}/web"), &json, now).await;
    assert_eq!(get(&client, &format!("{pods}/web")).await.code, 404);
}

#[tokio::test]
async fn unknown_fields_are_errors_or_warnings() {
    let server = Server::start().await;
    let client = server.client().await;
    let mut odd = config_map("a", "1");
    odd["dta"] = json!({});
    let strict = post(
        &client,
        &format!("{CONFIG_MAPS}?fieldValidation=Strict"),
        &odd,
    )
    .await;
    assert_eq!(strict.code, 400);
    assert!(
        strict
            .text
            .contains("strict decoding error: unknown field \\\"dta\\\""),
        "{}",
        strict.text
    );
    let warned = post(&client, CONFIG_MAPS, &odd).await;
    assert_eq!(warned.code, 201);
    let warning = warned
        .headers
        .get("warning")
        .and_then(|w| w.to_str().ok())
        .unwrap_or_default();
    assert_eq!(warning, "299 - \"unknown field \\\"dta\\\"\"");
}

#[tokio::test]
async fn an_ingress_gets_the_default_class() {
    let server = Server::start().await;
    let client = server.client().await;
    let group = "/apis/networking.k8s.io/v1";
    let class = json!({
        "metadata": {"name": "main", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
        "spec": {"controller": "example.com/ingress"},
    });
    create(&client, &format!("{group}/ingressclasses"), &class).await;
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let ingress = json!({"metadata": {"name": "web"}, "spec": {"defaultBackend": backend}});
    let made = create(
        &client,
        &format!("{group}/namespaces/default/ingresses"),
        &ingress,
    )
    .await;
    assert_eq!(made["spec"]["ingressClassName"], "main");
}

#[tokio::test]
async fn events_are_seen_under_both_groups() {
    let server = Server::start().await;
    let client = server.client().await;
    let event = json!({
        "metadata": {"name": "e"}, "eventTime": "2026-01-01T00:00:00.000000Z", "note": "hello", "reason": "Test",
        "action": "Testing", "type": "Normal", "reportingController": "example.com/c", "reportingInstance": "c-0",
        "regarding": {"kind": "Pod", "name": "web", "namespace": "default"},
    });
    create(
        &client,
        "/apis/events.k8s.io/v1/namespaces/default/events",
        &event,
    )
    .await;
    let path = "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dweb";
    let found = get(&client, path).await.json();
    assert_eq!(found["items"][0]["message"], "hello");
    let data: BTreeMap<String, serde_json::Value> = serde_json::from_value(
        get(
            &client,
            "/apis/events.k8s.io/v1/namespaces/default/events/e",
        )
        .await
        .json(),
    )
    .expect("a map");
    assert_eq!(
        (&data["note"], &data["apiVersion"]),
        (&json!("hello"), &json!("events.k8s.io/v1"))
    );
}
