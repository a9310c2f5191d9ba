use std::time::Duration;

use futures::{AsyncBufReadExt, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::runtime::watcher::{self, Event, watcher};
use portcullis_apiserver::Config;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::server::{CONFIG_MAPS, DEADLINE, Server, config_map, create, delete, get, patch};

/// The events of a watch by hand.
struct Events(std::pin::Pin<Box<dyn futures::Stream<Item = std::io::Result<String>> + Send>>);

impl Events {
    async fn of(client: &kube::Client, query: &str) -> Self {
        Self::with(client, query, "application/json").await
    }

    async fn with(client: &kube::Client, query: &str, accept: &str) -> Self {
        let request = http::Request::get(format!("{CONFIG_MAPS}?watch=true&{query}"))
            .header("accept", accept);
        let request = request.body(Vec::new()).expect("a request");
        let stream = client.request_stream(request).await.expect("an answer");
        Self(stream.lines().boxed())
    }

    async fn next(&mut self) -> Option<Value> {
        let line = timeout(DEADLINE, self.0.try_next())
            .await
            .expect("in time")
            .expect("unbroken")?;
        Some(serde_json::from_str(&line).expect("is JSON"))
    }

    /// Type, name and version of the next event.
    async fn seen(&mut self) -> (String, String, u64) {
        let event = self.next().await.expect("an event");
        let metadata = &event["object"]["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let version = text(&metadata["resourceVersion"])
            .parse()
            .expect("a number");
        (text(&event["type"]), text(&metadata["name"]), version)
    }
}

#[tokio::test]
async fn an_informer_streams_its_list_and_follows() {
    let server = Server::start().await;
    let client = server.client().await;
    create(&client, CONFIG_MAPS, &config_map("a", "1")).await;
    let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let mut events = watcher(api, watcher::Config::default().streaming_lists()).boxed();
    let mut seen = Vec::new();
    while seen.last().is_none_or(|s| s != "deleted a") {
        let event = timeout(DEADLINE, events.next())
            .await
            .expect("in time")
            .expect("goes on")
            .expect("an event");
        let name = |map: &ConfigMap| map.metadata.name.clone().unwrap_or_default();
        match event {
            Event::Init => seen.push("init".to_owned()),
            Event::InitApply(map) => seen.push(format!("initial {}", name(&map))),
            Event::InitDone => {
                seen.push("done".to_owned());
                create(&client, CONFIG_MAPS, &config_map("b", "1")).await;
                delete(&client, &format!("{CONFIG_MAPS}/a")).await;
            }
            Event::Apply(map) => seen.push(format!("applied {}", name(&map))),
            Event::Delete(map) => seen.push(format!("deleted {}", name(&map))),
        }
    }
    assert_eq!(
        seen,
        ["init", "initial a", "done", "applied b", "deleted a"]
    );
}

#[tokio::test]
async fn a_watch_resumes_after_a_version_without_gap_or_repeat() {
    let server = Server::start().await;
    let client = server.client().await;
    let list = get(&client, CONFIG_MAPS).await.json();
    let version = list["metadata"]["resourceVersion"]
        .as_str()
        .expect("a version")
        .to_owned();
    create(&client, CONFIG_MAPS, &config_map("a", "1")).await;
    let changed = patch(
        &client,
        &format!("{CONFIG_MAPS}/a"),
        &json!({"data": {"k": "2"}}),
    )
    .await
    .json();
    delete(&client, &format!("{CONFIG_MAPS}/a")).await;
    let mut whole = Events::of(&client, &format!("resourceVersion={version}")).await;
    let kinds = [whole.seen().await, whole.seen().await, whole.seen().await];
    assert_eq!(
        kinds.each_ref().map(|(kind, _, _)| kind.as_str()),
        ["ADDED", "MODIFIED", "DELETED"]
    );
    assert!(kinds[0].2 < kinds[1].2 && kinds[1].2 < kinds[2].2);
    let version = changed["metadata"]["resourceVersion"]
        .as_str()
        .expect("a version");
    let mut rest = Events::of(&client, &format!("resourceVersion={version}")).await;
    assert_eq!(rest.seen().await, kinds[2]);
}

#[tokio::test]
async fn an_object_that_leaves_the_selection_is_deleted_for_the_watcher() {
    let server = Server::start().await;
    let client = server.client().await;
    let mut events = Events::of(&client, "labelSelector=app%3Dx").await;
    let path = format!("{CONFIG_MAPS}/a");
    create(&client, CONFIG_MAPS, &config_map("a", "1")).await;
    patch(
        &client,
        &path,
        &json!({"metadata": {"labels": {"app": "x"}}}),
    )
    .await;
    let left = patch(
        &client,
        &path,
        &json!({"metadata": {"labels": {"app": "y"}}}),
    )
    .await
    .json();
    assert_eq!(events.seen().await.0, "ADDED");
    let event = events.next().await.expect("an event");
    assert_eq!(event["type"], "DELETED");
    assert_eq!(event["object"]["metadata"]["labels"]["app"], "x");
    assert_eq!(
        event["object"]["metadata"]["resourceVersion"],
        left["metadata"]["resourceVersion"]
    );
}

#[tokio::test]
async fn quiet_watches_get_bookmarks_and_a_last_one_at_the_end() {
    let config = Config {
        bookmark_interval: Duration::from_millis(50),
        ..Config::default()
    };
    let server = Server::with(config).await;
    let client = server.client().await;
    let mut events = Events::of(&client, "allowWatchBookmarks=true&timeoutSeconds=1").await;
    let other = json!({"metadata": {"name": "elsewhere"}});
    let made = create(&client, "/api/v1/namespaces", &other).await;
    let reached: u64 = made["metadata"]["resourceVersion"]
        .as_str()
        .and_then(|v| v.parse().ok())
        .expect("a version");
    let mut last = 0;
    while let Some(event) = events.next().await {
        assert_eq!(
            (&event["type"], &event["object"]["kind"]),
            (&json!("BOOKMARK"), &json!("ConfigMap"))
        );
        let version = event["object"]["metadata"]["resourceVersion"]
            .as_str()
            .and_then(|v| v.parse().ok());
        let version: u64 = version.expect("a version");
        assert!(version >= last);
        last = version;
    }
    assert!(last >= reached);
}

#[tokio::test]
async fn lost_history_is_an_error_event_with_status_410() {
    let server = Server::start().await;
    let client = server.client().await;
    create(&client, CONFIG_MAPS, &config_map("a", "1")).await;
    create(&client, CONFIG_MAPS, &config_map("b", "1")).await;
    server
        .store
        .compact(server.store.progress())
        .await
        .expect("compacts");
    let mut events = Events::of(&client, "resourceVersion=1").await;
    let event = events.next().await.expect("an event");
    assert_eq!(
        (&event["type"], &event["object"]["code"]),
        (&json!("ERROR"), &json!(410))
    );
    assert_eq!(event["object"]["reason"], "Expired");
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_watch_of_the_future_is_told_to_wait() {
    let server = Server::start().await;
    let client = server.client().await;
    let answer = get(&client, &format!("{CONFIG_MAPS}?resourceVersion=100000")).await;
    assert_eq!(answer.code, 504);
    assert_eq!(
        answer.json()["details"]["causes"][0]["reason"],
        "ResourceVersionTooLarge"
    );
}

#[tokio::test]
async fn tables_and_metadata_are_watched_too() {
    let server = Server::start().await;
    let client = server.client().await;
    create(&client, CONFIG_MAPS, &config_map("a", "1")).await;
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let mut tables = Events::with(&client, "", table).await;
    let metadata = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut partial = Events::with(&client, query, metadata).await;
    let first = tables.next().await.expect("an event");
    assert_eq!(first["object"]["rows"][0]["cells"][0], "a");
    assert_eq!(first["object"]["columnDefinitions"][0]["name"], "Name");
    let initial = partial.next().await.expect("an event");
    assert_eq!(initial["object"]["kind"], "PartialObjectMetadata");
    let end = partial.next().await.expect("a bookmark");
    assert_eq!(
        end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    create(&client, CONFIG_MAPS, &config_map("b", "1")).await;
    let second = tables.next().await.expect("an event");
    assert_eq!(
        (&second["type"], &second["object"]["columnDefinitions"]),
        (&json!("ADDED"), &Value::Null)
    );
    assert_eq!(
        partial.next().await.expect("an event")["object"]["data"],
        Value::Null
    );
}

#[tokio::test]
async fn a_drain_ends_watches() {
    let server = Server::start().await;
    let client = server.client().await;
    let mut events = Events::of(&client, "").await;
    create(&client, CONFIG_MAPS, &config_map("a", "1")).await;
    events.seen().await;
    server.drain.begin();
    assert_eq!(events.next().await, None);
    let drained = timeout(DEADLINE, server.drain.finish(DEADLINE))
        .await
        .expect("in time");
    assert_eq!(drained.cut, 0);
}

#[tokio::test]
async fn a_watch_for_longer_than_the_clock_goes_is_served() {
    let server = Server::start().await;
    let client = server.client().await;
    create(&client, CONFIG_MAPS, &config_map("a", "1")).await;
    let mut events = Events::of(&client, "timeoutSeconds=9223372036854775807").await;
    assert_eq!(events.seen().await.1, "a");
}
