use portcullis_apiserver::{AuthorizationMode, Config};
use serde_json::json;

use crate::server::{Server, create, delete, get, post};

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";

async fn token(client: &kube::Client, spec: serde_json::Value) -> String {
    create(client, ACCOUNTS, &json!({"metadata": {"name": "bob"}})).await;
    let request =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
    let made = create(client, &format!("{ACCOUNTS}/bob/token"), &request).await;
    made["status"]["token"]
        .as_str()
        .expect("a token")
        .to_owned()
}

#[tokio::test]
async fn without_an_identity_only_health_and_version_answer() {
    let server = Server::start().await;
    let nobody = server.client_with_token(None).await;
    for path in ["/healthz", "/livez", "/readyz", "/version"] {
        assert_eq!(get(&nobody, path).await.code, 200, "{path}");
    }
    for path in ["/api", "/metrics", "/api/v1/secrets", "/openapi/v3"] {
        assert_eq!(get(&nobody, path).await.code, 403, "{path}");
    }
    let refused = get(&nobody, "/api").await.json();
    assert_eq!(
        refused["message"],
        "forbidden: User \"system:anonymous\" cannot get path \"/api\""
    );
}

#[tokio::test]
async fn without_roles_everybody_with_an_identity_may_everything() {
    let config = Config {
        authorization: AuthorizationMode::AlwaysAllow,
        ..Config::default()
    };
    let server = Server::with(config).await;
    let nobody = server.client_with_token(None).await;
    assert_eq!(get(&nobody, "/readyz").await.code, 200);
    assert_eq!(get(&nobody, "/api").await.code, 401);
    let jane = server.client_of("jane", &["devs"]).await;
    assert_eq!(get(&jane, "/api/v1/namespaces").await.code, 200);
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    assert_eq!(get(&jane, roles).await.json()["items"], json!([]));
}

#[tokio::test]
async fn a_token_is_good_while_its_account_is() {
    let server = Server::start().await;
    let admin = server.client().await;
    let token = token(&admin, json!({})).await;
    let bob = server.client_with_token(Some(&token)).await;
    assert_eq!(get(&bob, "/api").await.code, 200);
    delete(&admin, &format!("{ACCOUNTS}/bob")).await;
    assert_eq!(get(&bob, "/api").await.code, 401);
    create(&admin, ACCOUNTS, &json!({"metadata": {"name": "bob"}})).await;
    assert_eq!(
        get(&bob, "/api").await.code,
        401,
        "another account of the same name"
    );
}

#[tokio::test]
async fn a_token_for_others_or_forged_is_refused() {
    let server = Server::start().await;
    let admin = server.client().await;
    let token = token(
        &admin,
        json!({"audiences": ["vault"], "expirationSeconds": 600}),
    )
    .await;
    for bad in [token.as_str(), "nonsense", "a.b.c"] {
        let client = server.client_with_token(Some(bad)).await;
        assert_eq!(get(&client, "/api").await.code, 401);
        assert_eq!(get(&client, "/healthz").await.code, 401);
    }
    let other = Server::start().await;
    let client = other.client_with_token(Some(&token)).await;
    assert_eq!(get(&client, "/api").await.code, 401);
    let brief = json!({"spec": {"expirationSeconds": 60}});
    let refused = post(&admin, &format!("{ACCOUNTS}/bob/token"), &brief).await;
    assert_eq!(refused.code, 422);
}

#[tokio::test]
async fn a_token_is_bound_only_to_a_pod_of_its_account() {
    let server = Server::start().await;
    let admin = server.client().await;
    for account in ["bob", "eve"] {
        create(&admin, ACCOUNTS, &json!({"metadata": {"name": account}})).await;
    }
    let pod = json!({
        "metadata": {"name": "web"},
        "spec": {"serviceAccountName": "bob", "containers": [{"name": "web", "image": "web:1"}]},
    });
    create(&admin, "/api/v1/namespaces/default/pods", &pod).await;
    let bound =
        json!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "web"}}});
    let refused = post(&admin, &format!("{ACCOUNTS}/eve/token"), &bound).await;
    assert_eq!(refused.code, 400, "{}", refused.text);
    create(&admin, &format!("{ACCOUNTS}/bob/token"), &bound).await;
}
