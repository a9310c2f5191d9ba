//! Questions asked by creating an object.

use http::Method;
use serde_json::{Value, json};

use crate::server::{Answer, Server, ask, create, get, post};

const ACCESS: &str = "/apis/authorization.k8s.io/v1";
const WHO: &str = "/apis/authentication.k8s.io/v1";

async fn ask_as(client: &kube::Client, path: &str, spec: Value) -> Answer {
    post(
        client,
        path,
        &json!({"metadata": {"creationTimestamp": null}, "spec": spec}),
    )
    .await
}

fn pods(verb: &str) -> Value {
    json!({"verb": verb, "resource": "pods", "namespace": "default"})
}

#[tokio::test]
async fn everybody_may_ask_about_themselves() {
    let server = Server::start().await;
    let jane = server.client_of("jane", &["devs"]).await;
    let path = format!("{ACCESS}/selfsubjectaccessreviews");
    let answer = ask_as(&jane, &path, json!({"resourceAttributes": pods("get")})).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    assert_eq!(answer.json()["status"], json!({"allowed": false}));
    let version = json!({"nonResourceAttributes": {"path": "/version", "verb": "get"}});
    assert_eq!(
        ask_as(&jane, &path, version).await.json()["status"],
        json!({
            "allowed": true,
            "reason": "RBAC: allowed by ClusterRoleBinding \"system:discovery\" of ClusterRole \"system:discovery\" to Group \"system:authenticated\"",
        })
    );
    assert_eq!(ask_as(&jane, &path, json!({})).await.code, 422);
    let who = post(&jane, &format!("{WHO}/selfsubjectreviews"), &json!({})).await;
    assert_eq!(
        who.json()["status"]["userInfo"],
        json!({"username": "jane", "groups": ["devs", "system:authenticated"]})
    );
    let rules = ask_as(
        &jane,
        &format!("{ACCESS}/selfsubjectrulesreviews"),
        json!({"namespace": "default"}),
    )
    .await;
    let rules = rules.json()["status"].clone();
    assert_eq!(rules["incomplete"], false);
    let basic = json!({"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]});
    assert!(
        rules["resourceRules"]
            .as_array()
            .is_some_and(|r| r.contains(&basic)),
        "{rules}"
    );
    assert!(
        !rules["nonResourceRules"]
            .as_array()
            .is_none_or(Vec::is_empty)
    );
}

#[tokio::test]
async fn only_who_may_asks_about_others() {
    let server = Server::start().await;
    let admin = server.client().await;
    let path = format!("{ACCESS}/subjectaccessreviews");
    let about = |user: &str, groups: Value| json!({"user": user, "groups": groups, "resourceAttributes": pods("delete")});
    let node = ask_as(
        &admin,
        &path,
        about("system:node:a", json!(["system:nodes"])),
    )
    .await;
    assert_eq!(node.json()["status"]["allowed"], true, "{}", node.text);
    let jane = ask_as(&admin, &path, about("jane", json!([]))).await;
    assert_eq!(jane.json()["status"], json!({"allowed": false}));
    let local = format!("{ACCESS}/namespaces/default/localsubjectaccessreviews");
    let here = ask_as(&admin, &local, about("jane", json!(["system:masters"]))).await;
    assert_eq!(here.json()["status"], json!({"allowed": true}));
    let elsewhere = format!("{ACCESS}/namespaces/kube-system/localsubjectaccessreviews");
    assert_eq!(
        ask_as(&admin, &elsewhere, about("jane", json!([])))
            .await
            .code,
        422
    );
    let jane = server.client_of("jane", &[]).await;
    assert_eq!(
        ask_as(&jane, &path, about("jane", json!([]))).await.code,
        403
    );
    assert_eq!(
        ask_as(&jane, &local, about("jane", json!([]))).await.code,
        403
    );
}

#[tokio::test]
async fn a_token_is_reviewed_for_its_audiences() {
    let server = Server::start().await;
    let admin = server.client().await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let bob = create(&admin, accounts, &json!({"metadata": {"name": "bob"}})).await;
    let request = json!({"spec": {"audiences": ["vault", "bank"]}});
    let made = create(&admin, &format!("{accounts}/bob/token"), &request).await;
    let token = &made["status"]["token"];
    let path = format!("{WHO}/tokenreviews");
    let asked = json!({"token": token, "audiences": ["bank", "shop"]});
    let good = ask_as(&admin, &path, asked).await.json()["status"].clone();
    assert_eq!(good["authenticated"], true, "{good}");
    assert_eq!(good["audiences"], json!(["bank"]));
    assert_eq!(
        good["user"]["username"],
        "system:serviceaccount:default:bob"
    );
    assert_eq!(good["user"]["uid"], bob["metadata"]["uid"]);
    for bad in [json!({"token": token}), json!({"token": "nonsense"})] {
        let status = ask_as(&admin, &path, bad).await.json()["status"].clone();
        assert_eq!(status["error"], "invalid bearer token");
        assert_ne!(status["authenticated"], true);
    }
    assert_eq!(ask_as(&admin, &path, json!({})).await.code, 400);
}

#[tokio::test]
async fn reviews_are_only_created() {
    let server = Server::start().await;
    let admin = server.client().await;
    for (group, count) in [(ACCESS, 4), (WHO, 2)] {
        let resources = get(&admin, group).await.json()["resources"].clone();
        let resources = resources.as_array().expect("a list").clone();
        assert_eq!(resources.len(), count);
        assert!(resources.iter().all(|r| r["verbs"] == json!(["create"])));
        let documented = get(&admin, &format!("/openapi/v3{group}")).await;
        assert_eq!(documented.code, 200);
    }
    let path = format!("{ACCESS}/selfsubjectaccessreviews");
    for method in [Method::GET, Method::DELETE] {
        let answer = ask(&admin, method, &path, &[], Vec::new()).await;
        assert_eq!(answer.code, 405);
    }
}
