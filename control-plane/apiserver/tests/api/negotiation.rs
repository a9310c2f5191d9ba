use http::Method;
use portcullis_apiserver::Config;
use portcullis_resource::codec::encode_protobuf;
use serde_json::{Value, json};

use crate::server::{CONFIG_MAPS, Server, ask, config_map, create, get};

#[tokio::test]
async fn typed_clients_create_with_protobuf_and_read_json() {
    let server = Server::start().await;
    let client = server.client().await;
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
        "spec": {"holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.123456Z"},
    });
    let body = encode_protobuf("io.k8s.api.coordination.v1.Lease", &lease).expect("encodes");
    let headers = [
        ("content-type", "application/vnd.kubernetes.protobuf"),
        (
            "accept",
            "application/vnd.kubernetes.protobuf,application/json",
        ),
    ];
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let made = ask(&client, Method::POST, path, &headers, body).await;
    assert_eq!(made.code, 201, "{}", made.text);
    assert_eq!(made.json()["spec"], lease["spec"]);
}

#[tokio::test]
async fn tables_yaml_and_metadata_are_shown_as_asked() {
    let server = Server::start().await;
    let client = server.client().await;
    create(&client, CONFIG_MAPS, &config_map("a", "1")).await;
    let accepting = |accept: &'static str| {
        let client = client.clone();
        async move {
            ask(
                &client,
                Method::GET,
                CONFIG_MAPS,
                &[("accept", accept)],
                Vec::new(),
            )
            .await
        }
    };
    let table = accepting("application/json;as=Table;v=v1;g=meta.k8s.io")
        .await
        .json();
    assert_eq!(
        (&table["kind"], &table["rows"][0]["cells"][1]),
        (&json!("Table"), &json!(1))
    );
    let yaml = accepting("application/yaml").await;
    assert_eq!(yaml.headers["content-type"], "application/yaml");
    assert!(yaml.text.contains("kind: ConfigMapList"), "{}", yaml.text);
    let partial = accepting("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")
        .await
        .json();
    assert_eq!(partial["items"][0]["kind"], "PartialObjectMetadata");
    assert_eq!(accepting("text/html").await.code, 406);
}

#[tokio::test]
async fn bodies_are_limited_in_type_and_size() {
    let server = Server::start().await;
    let client = server.client().await;
    let send = |media: &'static str, body: String| {
        let client = client.clone();
        async move {
            ask(
                &client,
                Method::POST,
                CONFIG_MAPS,
                &[("content-type", media)],
                body,
            )
            .await
            .code
            .as_u16()
        }
    };
    assert_eq!(send("application/xml", "<a/>".into()).await, 415);
    assert_eq!(send("application/json", "{".into()).await, 400);
    assert_eq!(
        send("application/json", "x".repeat(3 * 1024 * 1024 + 1)).await,
        413
    );
    let apply = [("content-type", "application/apply-patch+yaml")];
    let path = format!("{CONFIG_MAPS}/a?fieldManager=x");
    let applied = ask(&client, Method::PATCH, &path, &apply, "{}").await;
    assert_eq!(applied.code, 415);
    assert!(
        applied.text.contains("server-side apply"),
        "{}",
        applied.text
    );
}

#[tokio::test]
async fn large_lists_are_compressed() {
    let server = Server::start().await;
    let client = server.client().await;
    create(&client, CONFIG_MAPS, &config_map("a", &"x".repeat(200_000))).await;
    let gzip = [("accept-encoding", "gzip")];
    let answer = ask(&client, Method::GET, CONFIG_MAPS, &gzip, Vec::new()).await;
    // A client that decompresses by itself takes the header away.
    let packed = answer
        .headers
        .get("content-encoding")
        .is_some_and(|v| v == "gzip");
    assert!(
        packed
            || answer.json()["items"][0]["data"]["k"]
                .as_str()
                .map(str::len)
                == Some(200_000)
    );
    let small = ask(
        &client,
        Method::GET,
        "/api/v1/namespaces",
        &gzip,
        Vec::new(),
    )
    .await;
    assert!(!small.headers.contains_key("content-encoding"));
}

#[tokio::test]
async fn discovery_comes_in_both_forms_and_can_be_kept() {
    let server = Server::start().await;
    let client = server.client().await;
    let wanted =
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let whole = ask(
        &client,
        Method::GET,
        "/apis",
        &[("accept", wanted)],
        Vec::new(),
    )
    .await;
    assert_eq!(
        whole.headers["content-type"],
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    );
    let tag = whole.headers["etag"].to_str().expect("a tag").to_owned();
    let groups = whole.json();
    assert_eq!(groups["items"][0]["metadata"]["name"], "apps");
    let scale = &groups["items"][0]["versions"][0]["resources"][1]["subresources"][0];
    assert_eq!(
        scale["responseKind"],
        json!({"group": "autoscaling", "version": "v1", "kind": "Scale"})
    );
    let again = [("accept", wanted), ("if-none-match", tag.as_str())];
    assert_eq!(
        ask(&client, Method::GET, "/apis", &again, Vec::new())
            .await
            .code,
        304
    );
    assert_eq!(get(&client, "/apis").await.json()["kind"], "APIGroupList");
    let resources = get(&client, "/api/v1").await.json();
    let names: Vec<&str> = resources["resources"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|r| r["name"].as_str())
        .collect();
    assert!(names.contains(&"pods/log") && names.contains(&"pods"));
    assert_eq!(get(&client, "/version").await.json()["minor"], "37");
    let open = get(&client, "/openapi/v3").await.json();
    assert!(open["paths"]["apis/apps/v1"]["serverRelativeURL"].is_string());
    assert_eq!(
        get(&client, "/openapi/v3/apis/apps/v1").await.json()["openapi"],
        "3.0.0"
    );
}

#[tokio::test]
async fn requests_beyond_the_limit_are_told_to_come_back() {
    let config = Config {
        max_writes: 0,
        ..Config::default()
    };
    let server = Server::with(config).await;
    let client = server.client().await;
    let full = crate::server::post(&client, CONFIG_MAPS, &config_map("a", "1")).await;
    assert_eq!(
        (
            full.code.as_u16(),
            full.headers["retry-after"].to_str().ok()
        ),
        (429, Some("1"))
    );
    assert_eq!(get(&client, CONFIG_MAPS).await.code, 200);
}

#[tokio::test]
async fn what_is_not_served_is_a_status() {
    let server = Server::start().await;
    let client = server.client().await;
    for (path, code) in [
        ("/api/v1/nothing", 404),
        ("/api/v2/pods", 404),
        ("/apis/example.com/v1/things", 404),
        ("/nothing", 404),
        ("/api/v1/namespaces/default/nodes", 404),
        ("/api/v1/namespaces/default/pods/a/exec", 404),
    ] {
        let answer = get(&client, path).await;
        assert_eq!(answer.code, code, "{path}");
        assert_eq!(answer.json()["kind"], "Status", "{path}");
    }
    let method = ask(
        &client,
        Method::DELETE,
        "/api/v1/namespaces",
        &[],
        Vec::new(),
    )
    .await;
    assert_eq!(
        (method.code.as_u16(), &method.json()["reason"]),
        (405, &Value::from("MethodNotAllowed"))
    );
}
