use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use crate::server::{Server, ask, create, delete, get, post};

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const PODS: &str = "/api/v1/namespaces/default/pods";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const NODES: &str = "/api/v1/nodes";
/// What everybody with an identity may see.
const ANYBODYS: &str = "/api";
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// A server with the account `bob`.
async fn stage() -> (Server, kube::Client) {
    let server = Server::start().await;
    let admin = server.client().await;
    create(&admin, ACCOUNTS, &json!({"metadata": {"name": "bob"}})).await;
    (server, admin)
}

fn pod(name: &str, node: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "serviceAccountName": "bob",
            "nodeName": node,
            "containers": [{"name": "web", "image": "web:1"}],
        },
    })
}

fn bound_to(kind: &str, name: &str) -> Value {
    json!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": kind, "name": name}}})
}

async fn issue(admin: &kube::Client, request: &Value) -> Value {
    create(admin, &format!("{ACCOUNTS}/bob/token"), request).await
}

fn token(issued: &Value) -> String {
    issued["status"]["token"].as_str().expect("a token").into()
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).expect("three parts");
    let text = URL_SAFE_NO_PAD.decode(part).expect("base64");
    serde_json::from_slice(&text).expect("is JSON")
}

#[tokio::test]
async fn a_pods_token_names_pod_and_node_and_dies_with_the_pod() {
    let (server, admin) = stage().await;
    let node = create(&admin, NODES, &json!({"metadata": {"name": "a"}})).await;
    let made = create(&admin, PODS, &pod("web", "a")).await;
    let issued = issue(&admin, &bound_to("Pod", "web")).await;
    let token = token(&issued);
    let claims = &part(&token, 1);
    let kubernetes = &claims["kubernetes.io"];
    assert_eq!(
        kubernetes["pod"],
        json!({"name": "web", "uid": made["metadata"]["uid"]})
    );
    assert_eq!(
        kubernetes["node"],
        json!({"name": "a", "uid": node["metadata"]["uid"]})
    );
    assert_eq!(claims["sub"], "system:serviceaccount:default:bob");
    assert_eq!(claims["aud"], json!([ISSUER]));
    assert!(claims["jti"].as_str().is_some_and(|id| id.len() == 36));
    let life = claims["exp"].as_i64().expect("a time") - claims["iat"].as_i64().expect("a time");
    assert_eq!(life, 3_600);
    let bob = server.client_with_token(Some(&token)).await;
    assert_eq!(get(&bob, ANYBODYS).await.code, 200);
    delete(&admin, &format!("{NODES}/a")).await;
    assert_eq!(get(&bob, ANYBODYS).await.code, 200, "it is the pod's");
    let at_once = format!("{PODS}/web?gracePeriodSeconds=0");
    assert_eq!(delete(&admin, &at_once).await.code, 200);
    assert_eq!(get(&bob, ANYBODYS).await.code, 401);
    create(&admin, PODS, &pod("web", "a")).await;
    assert_eq!(
        get(&bob, ANYBODYS).await.code,
        401,
        "another pod of that name"
    );
}

#[tokio::test]
async fn a_node_that_is_not_known_is_named_all_the_same() {
    let (_server, admin) = stage().await;
    create(&admin, PODS, &pod("web", "unknown")).await;
    let issued = issue(&admin, &bound_to("Pod", "web")).await;
    let claims = part(&token(&issued), 1);
    assert_eq!(claims["kubernetes.io"]["node"], json!({"name": "unknown"}));
}

#[tokio::test]
async fn tokens_of_secrets_and_nodes_die_with_them() {
    let (server, admin) = stage().await;
    for (kind, collection) in [("Secret", SECRETS), ("Node", NODES)] {
        let object = json!({"metadata": {"name": "it"}});
        create(&admin, collection, &object).await;
        let token = token(&issue(&admin, &bound_to(kind, "it")).await);
        let bob = server.client_with_token(Some(&token)).await;
        assert_eq!(get(&bob, ANYBODYS).await.code, 200, "{kind}");
        delete(&admin, &format!("{collection}/it")).await;
        assert_eq!(get(&bob, ANYBODYS).await.code, 401, "{kind}");
        create(&admin, collection, &object).await;
        assert_eq!(get(&bob, ANYBODYS).await.code, 401, "another {kind}");
    }
}

#[tokio::test]
async fn what_a_token_cannot_be_bound_to_is_told_in_upstreams_words() {
    let (_server, admin) = stage().await;
    create(&admin, PODS, &pod("web", "a")).await;
    let path = format!("{ACCOUNTS}/bob/token");
    let refused = post(&admin, &path, &bound_to("ConfigMap", "it")).await;
    assert_eq!(refused.code, 400);
    assert_eq!(
        refused.json()["message"],
        "cannot bind token for serviceaccount to object of type /v1, Kind=ConfigMap"
    );
    let absent = post(&admin, &path, &bound_to("Pod", "absent")).await;
    assert_eq!(absent.code, 404);
    assert_eq!(absent.json()["message"], "pods \"absent\" not found");
    let mut other = bound_to("Pod", "web");
    other["spec"]["boundObjectRef"]["uid"] = json!("other");
    let conflict = post(&admin, &path, &other).await;
    assert_eq!(conflict.code, 409);
    assert_eq!(
        conflict.json()["message"],
        "Operation cannot be fulfilled on Pod \"web\": the UID in the bound object reference (other) does not match \
         the UID in record. The object might have been deleted and then recreated"
    );
    let absent = post(
        &admin,
        &format!("{ACCOUNTS}/nobody/token"),
        &json!({"spec": {}}),
    )
    .await;
    assert_eq!(
        absent.json()["message"],
        "serviceaccounts \"nobody\" not found"
    );
}

#[tokio::test]
async fn a_request_says_what_was_granted() {
    let (_server, admin) = stage().await;
    let issued = issue(&admin, &json!({"spec": {"audiences": ["vault", "api"]}})).await;
    assert_eq!(issued["kind"], "TokenRequest");
    assert_eq!(issued["metadata"]["name"], "bob");
    assert_eq!(issued["spec"]["audiences"], json!(["vault", "api"]));
    assert_eq!(issued["spec"]["expirationSeconds"], 3_600);
    let claims = part(&token(&issued), 1);
    let expires = issued["status"]["expirationTimestamp"].as_str();
    let expires: jiff::Timestamp = expires.expect("a time").parse().expect("a time");
    assert_eq!(claims["exp"], expires.as_second());
    assert_eq!(claims["aud"], json!(["vault", "api"]));
    let year = issue(&admin, &json!({"spec": {"expirationSeconds": 31_536_000}})).await;
    assert_eq!(year["spec"]["expirationSeconds"], 31_536_000);
    let path = format!("{ACCOUNTS}/bob/token");
    for (body, field) in [
        (
            json!({"spec": {"expirationSeconds": 599}}),
            "spec.expirationSeconds",
        ),
        (
            json!({"spec": {"expirationSeconds": 4_294_967_297_i64}}),
            "spec.expirationSeconds",
        ),
        (
            json!({"metadata": {"name": "eve"}, "spec": {}}),
            "metadata.name",
        ),
        (
            json!({"metadata": {"namespace": "x"}, "spec": {}}),
            "metadata.namespace",
        ),
    ] {
        let refused = post(&admin, &path, &body).await;
        assert_eq!(refused.code, 422, "{}", refused.text);
        assert_eq!(refused.json()["details"]["causes"][0]["field"], field);
    }
}

#[tokio::test]
async fn a_token_of_the_volume_outlives_what_its_owner_is_told() {
    let (_server, admin) = stage().await;
    create(&admin, PODS, &pod("web", "a")).await;
    let mut request = bound_to("Pod", "web");
    request["spec"]["expirationSeconds"] = json!(3_607);
    let claims = part(&token(&issue(&admin, &request).await), 1);
    let issued = claims["iat"].as_i64().expect("a time");
    assert_eq!(claims["exp"], issued + 31_536_000);
    assert_eq!(claims["kubernetes.io"]["warnafter"], issued + 3_607);
}

#[tokio::test]
async fn others_can_check_tokens_with_the_published_key() {
    let (server, admin) = stage().await;
    let issued = issue(&admin, &json!({"spec": {"audiences": ["vault"]}})).await;
    let token = token(&issued);
    let bob = issue(&admin, &json!({"spec": {}})).await;
    let bob = server.client_with_token(Some(&self::token(&bob))).await;
    let discovery = get(&bob, "/.well-known/openid-configuration").await;
    assert_eq!(discovery.headers["content-type"], "application/json");
    assert_eq!(discovery.headers["cache-control"], "public, max-age=3600");
    let discovery = discovery.json();
    assert_eq!(discovery["issuer"], ISSUER);
    assert_eq!(
        discovery["jwks_uri"],
        format!("{}/openid/v1/jwks", server.url)
    );
    let keys = get(&bob, "/openid/v1/jwks").await;
    assert_eq!(keys.headers["content-type"], "application/jwk-set+json");
    let keys: JwkSet = serde_json::from_str(&keys.text).expect("a key set");
    let header = part(&token, 0);
    assert_eq!(header["alg"], "ES256");
    let key = keys.find(header["kid"].as_str().expect("an id"));
    let key = DecodingKey::from_jwk(key.expect("the token's key")).expect("a key");
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&["vault"]);
    validation.set_issuer(&[ISSUER]);
    jsonwebtoken::decode::<Value>(&token, &key, &validation).expect("a good token");
    let nobody = server.client_with_token(None).await;
    assert!(!get(&nobody, "/openid/v1/jwks").await.code.is_success());
}

#[tokio::test]
async fn a_pod_gets_what_it_needs_to_talk_to_the_api() {
    let (_server, admin) = stage().await;
    let made = create(&admin, PODS, &pod("web", "a")).await;
    let volume = &made["spec"]["volumes"][0];
    let name = volume["name"].as_str().expect("a volume");
    assert!(
        name.starts_with("kube-api-access-") && name.len() == 21,
        "{name}"
    );
    let sources = json!([
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
        ]}},
    ]);
    assert_eq!(
        volume["projected"],
        json!({"defaultMode": 420, "sources": sources})
    );
    let mount = json!({"name": name, "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"});
    assert_eq!(
        made["spec"]["containers"][0]["volumeMounts"],
        json!([mount])
    );
    let mut without = pod("bare", "a");
    without["spec"]["automountServiceAccountToken"] = json!(false);
    let made = create(&admin, PODS, &without).await;
    assert_eq!(made["spec"]["volumes"], Value::Null);
    let mut lost = pod("", "a");
    lost["metadata"] = json!({"generateName": "lost-"});
    lost["spec"]["serviceAccountName"] = json!("nobody");
    let refused = post(&admin, PODS, &lost).await;
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.json()["message"],
        "pods \"lost-\" is forbidden: error looking up service account default/nobody: serviceaccount \"nobody\" not found"
    );
    let json_type = [("content-type", "application/json")];
    let dry = ask(
        &admin,
        http::Method::POST,
        &format!("{PODS}?dryRun=All"),
        &json_type,
        pod("tried", "a").to_string(),
    )
    .await;
    assert_eq!(dry.code, 201, "{}", dry.text);
}
