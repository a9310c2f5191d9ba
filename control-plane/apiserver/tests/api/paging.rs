use serde_json::Value;

use crate::server::{CONFIG_MAPS, Server, config_map, create, get};

async fn page(client: &kube::Client, query: &str) -> (Vec<String>, Value) {
    let answer = get(client, &format!("{CONFIG_MAPS}?{query}")).await;
    assert_eq!(answer.code, 200, "{}", answer.text);
    let list = answer.json();
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let names = items.iter().map(|i| {
        i["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    });
    (names.collect(), list["metadata"].clone())
}

async fn five(client: &kube::Client) {
    for name in ["a", "b", "c", "d", "e"] {
        let mut map = config_map(name, "1");
        map["metadata"]["labels"] =
            serde_json::json!({"odd": (name == "a" || name == "e").to_string()});
        create(client, CONFIG_MAPS, &map).await;
    }
}

#[tokio::test]
async fn pages_show_one_version_although_objects_are_added() {
    let server = Server::start().await;
    let client = server.client().await;
    five(&client).await;
    let (first, metadata) = page(&client, "limit=2").await;
    assert_eq!(
        (first, &metadata["remainingItemCount"]),
        (vec!["a".to_owned(), "b".to_owned()], &Value::from(3))
    );
    create(&client, CONFIG_MAPS, &config_map("bb", "1")).await;
    let token = metadata["continue"].as_str().expect("a token");
    let (rest, later) = page(&client, &format!("limit=10&continue={token}")).await;
    assert_eq!(rest, ["c", "d", "e"]);
    assert_eq!(later["resourceVersion"], metadata["resourceVersion"]);
    assert_eq!(later["continue"], Value::Null);
}

#[tokio::test]
async fn pages_are_full_also_where_a_selector_skips() {
    let server = Server::start().await;
    let client = server.client().await;
    five(&client).await;
    let (first, metadata) = page(&client, "limit=1&labelSelector=odd%3Dtrue").await;
    assert_eq!(
        (first, &metadata["remainingItemCount"]),
        (vec!["a".to_owned()], &Value::Null)
    );
    let token = metadata["continue"].as_str().expect("a token");
    let (rest, _) = page(
        &client,
        &format!("limit=1&labelSelector=odd%3Dtrue&continue={token}"),
    )
    .await;
    assert_eq!(rest, ["e"]);
}

#[tokio::test]
async fn after_compaction_a_list_may_go_on_inconsistently() {
    let server = Server::start().await;
    let client = server.client().await;
    five(&client).await;
    let (_, metadata) = page(&client, "limit=2").await;
    create(&client, CONFIG_MAPS, &config_map("f", "1")).await;
    server
        .store
        .compact(server.store.progress())
        .await
        .expect("compacts");
    let token = metadata["continue"].as_str().expect("a token");
    let expired = get(&client, &format!("{CONFIG_MAPS}?limit=2&continue={token}")).await;
    assert_eq!(
        (expired.code.as_u16(), &expired.json()["reason"]),
        (410, &Value::from("Expired"))
    );
    let status = expired.json();
    let onward = status["metadata"]["continue"].as_str().expect("a token");
    let (rest, _) = page(&client, &format!("continue={onward}")).await;
    assert_eq!(rest, ["c", "d", "e", "f"]);
}

#[tokio::test]
async fn empty_lists_have_items() {
    let server = Server::start().await;
    let client = server.client().await;
    let list = get(&client, "/apis/apps/v1/deployments").await.json();
    assert_eq!(
        (&list["kind"], &list["items"]),
        (&Value::from("DeploymentList"), &Value::Array(vec![]))
    );
}
