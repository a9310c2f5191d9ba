use std::collections::HashSet;

use portcullis_apiserver::Config;
use serde_json::{Value, json};

use crate::server::{DEADLINE, Server, create, delete, get, patch, post};

const SERVICES: &str = "/api/v1/namespaces/default/services";

fn service(name: &str, spec: Value) -> Value {
    let mut service = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], "selector": {"app": "web"}}});
    for (key, value) in spec.as_object().into_iter().flatten() {
        service["spec"][key] = value.clone();
    }
    service
}

#[tokio::test]
async fn every_service_has_an_address_of_its_own_until_it_is_deleted() {
    let server = Server::start().await;
    let client = server.client().await;
    let own = get(&client, &format!("{SERVICES}/kubernetes")).await.json();
    assert_eq!(own["spec"]["clusterIP"], "10.43.0.1");
    let mut seen = HashSet::new();
    for i in 0..20 {
        let made = create(&client, SERVICES, &service(&format!("s{i}"), json!({}))).await;
        assert!(
            seen.insert(
                made["spec"]["clusterIP"]
                    .as_str()
                    .expect("an address")
                    .to_owned()
            )
        );
        assert_eq!(made["spec"]["ports"][0]["targetPort"], 80);
    }
    let first = get(&client, &format!("{SERVICES}/s0")).await.json()["spec"]["clusterIP"].clone();
    let taken = post(
        &client,
        SERVICES,
        &service("x", json!({"clusterIP": first})),
    )
    .await;
    assert_eq!(taken.code, 422);
    assert!(
        taken.text.contains("provided IP is already allocated"),
        "{}",
        taken.text
    );
    delete(&client, &format!("{SERVICES}/s0")).await;
    create(
        &client,
        SERVICES,
        &service("x", json!({"clusterIP": first})),
    )
    .await;
}

#[tokio::test]
async fn node_ports_come_and_go_with_the_type() {
    let server = Server::start().await;
    let client = server.client().await;
    create(&client, SERVICES, &service("web", json!({}))).await;
    let path = format!("{SERVICES}/web");
    let open = patch(&client, &path, &json!({"spec": {"type": "NodePort"}}))
        .await
        .json();
    let port = open["spec"]["ports"][0]["nodePort"]
        .as_u64()
        .expect("a port");
    assert!((30_000..=32_767).contains(&port));
    let named = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]});
    assert_eq!(
        post(&client, SERVICES, &service("x", named.clone()))
            .await
            .code,
        422
    );
    let closed = patch(&client, &path, &json!({"spec": {"type": "ClusterIP"}}))
        .await
        .json();
    assert_eq!(
        closed["spec"]["ports"][0]["nodePort"],
        Value::Null,
        "{closed}"
    );
    create(&client, SERVICES, &service("x", named)).await;
}

#[tokio::test]
async fn a_failed_create_gives_its_address_back() {
    let server = Server::start().await;
    let client = server.client().await;
    let wanted = json!({"clusterIP": "10.43.0.77", "ports": [{"port": 0}]});
    assert_eq!(
        post(&client, SERVICES, &service("web", wanted)).await.code,
        422
    );
    create(
        &client,
        SERVICES,
        &service("web", json!({"clusterIP": "10.43.0.77"})),
    )
    .await;
}

#[tokio::test]
async fn the_servers_own_service_comes_back() {
    let server = Server::start().await;
    let client = server.client().await;
    let path = format!("{SERVICES}/kubernetes");
    delete(&client, &path).await;
    let back = async {
        while get(&client, &path).await.code != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, back).await.expect("in time");
}

#[tokio::test]
async fn its_endpoints_are_where_the_server_is_advertised_and_come_back() {
    let config = Config {
        advertise_address: Some([192, 0, 2, 7].into()),
        ..Config::default()
    };
    let server = Server::with(config).await;
    let client = server.client().await;
    let port: u16 = server
        .url
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .expect("a port");
    let slice_path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
    let endpoints_path = "/api/v1/namespaces/default/endpoints/kubernetes";
    let ports = json!([{"name": "https", "port": port, "protocol": "TCP"}]);
    let is_right = async || {
        let slice = get(&client, slice_path).await.json();
        let endpoints = get(&client, endpoints_path).await.json();
        slice["addressType"] == "IPv4"
            && slice["endpoints"][0]["addresses"] == json!(["192.0.2.7"])
            && slice["ports"] == ports
            && slice["metadata"]["labels"]["kubernetes.io/service-name"] == "kubernetes"
            && endpoints["subsets"][0]["addresses"] == json!([{"ip": "192.0.2.7"}])
            && endpoints["subsets"][0]["ports"] == ports
    };
    assert!(is_right().await);
    let elsewhere =
        json!({"endpoints": [{"addresses": ["192.0.2.8"]}, {"addresses": ["192.0.2.9"]}]});
    let unlabelled = json!({"metadata": {"labels": {"kubernetes.io/service-name": null}}});
    for change in [elsewhere, unlabelled] {
        assert_eq!(patch(&client, slice_path, &change).await.code, 200);
    }
    delete(&client, endpoints_path).await;
    let back = async {
        while !is_right().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, back).await.expect("in time");
}

#[tokio::test]
async fn endpoints_of_an_earlier_run_go_when_the_server_is_not_to_be_reached() {
    let slice = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
    let endpoints = "/api/v1/namespaces/default/endpoints/kubernetes";
    let config = Config {
        advertise_address: Some([192, 0, 2, 7].into()),
        ..Config::default()
    };
    let first = Server::with(config).await;
    let client = first.client().await;
    for path in [slice, endpoints] {
        assert_eq!(get(&client, path).await.code, 200, "{path}");
    }
    first.drain.finish(DEADLINE).await;
    let second = Server::on(Config::default(), first.store.clone()).await;
    let client = second.client().await;
    for path in [slice, endpoints] {
        assert_eq!(get(&client, path).await.code, 404, "{path}");
    }
}

#[tokio::test]
async fn health_check_ports_are_taken_named_and_released() {
    let server = Server::start().await;
    let client = server.client().await;
    let local = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"});
    let made = create(&client, SERVICES, &service("web", local.clone())).await;
    let check = made["spec"]["healthCheckNodePort"]
        .as_u64()
        .expect("a port");
    assert_ne!(made["spec"]["ports"][0]["nodePort"], check);
    let with = |spec: &Value| {
        let mut spec = spec.clone();
        spec["healthCheckNodePort"] = check.into();
        spec
    };
    let refused = post(&client, SERVICES, &service("x", with(&local))).await;
    assert_eq!(refused.code, 422);
    let text = format!(
        "spec.healthCheckNodePort: Invalid value: {check}: provided port is already allocated"
    );
    assert!(refused.text.contains(&text), "{}", refused.text);
    let path = format!("{SERVICES}/web");
    let cluster = json!({"spec": {"externalTrafficPolicy": "Cluster"}});
    let open = patch(&client, &path, &cluster).await.json();
    assert_eq!(open["spec"]["healthCheckNodePort"], Value::Null, "{open}");
    create(&client, SERVICES, &service("x", with(&local))).await;
}

#[tokio::test]
async fn node_ports_outside_the_range_are_named_with_their_place() {
    let server = Server::start().await;
    let client = server.client().await;
    let ports = json!([{"name": "a", "port": 80, "nodePort": 30_099}, {"name": "b", "port": 81, "nodePort": 8080}]);
    let refused = json!({"type": "NodePort", "ports": ports});
    let refused = post(&client, SERVICES, &service("x", refused)).await;
    assert_eq!(refused.code, 422);
    let text = "spec.ports[1].nodePort: Invalid value: 8080: provided port is not in the valid range. The range of valid \
                ports is 30000-32767";
    assert!(refused.text.contains(text), "{}", refused.text);
    // The first of them was not kept.
    let named = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30_099}]});
    create(&client, SERVICES, &service("x", named)).await;
}

#[tokio::test]
async fn families_the_cluster_lacks_are_refused() {
    let server = Server::start().await;
    let client = server.client().await;
    for (spec, text) in [
        (
            json!({"ipFamilyPolicy": "RequireDualStack"}),
            "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
        ),
        (
            json!({"ipFamilies": ["IPv6"]}),
            "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
        ),
    ] {
        let refused = post(&client, SERVICES, &service("x", spec)).await;
        assert_eq!(refused.code, 422);
        let told = refused.json()["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(told.contains(text), "{told}");
    }
    let prefers = json!({"ipFamilyPolicy": "PreferDualStack"});
    let made = create(&client, SERVICES, &service("x", prefers)).await;
    assert_eq!(made["spec"]["ipFamilies"], json!(["IPv4"]));
}

#[tokio::test]
async fn a_status_takes_no_ports_whatever_its_spec_says() {
    let server = Server::start().await;
    let client = server.client().await;
    let named = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30_088}]});
    create(&client, SERVICES, &service("web", json!({}))).await;
    let path = format!("{SERVICES}/web/status");
    let answer = patch(&client, &path, &json!({"spec": named})).await.json();
    assert_eq!(answer["spec"]["type"], "ClusterIP");
    create(&client, SERVICES, &service("x", named)).await;
}
