//! The controller against an API server: what it publishes, what it writes, and when.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crate::fake_api::FakeApi;
use crate::objects::{class, ingress, service, slice};
use portcullis_daemon::{Config, Election, Pod, start};
use portcullis_route::spec::{RouteAction, Specs};
use portcullis_translate::{Address, Settings};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

#[tokio::test]
async fn nothing_is_published_before_every_watch_has_listed() {
    let api = loaded().await;
    api.store.hold(Some("secrets"));
    let running = start(config(), api.client()).await.expect("started");
    let mut specs = running.specs();

    // The other lists are in when their watches have begun, which a write that nobody sees does not prove: what is
    // proved is that no time is enough.
    assert!(
        timeout(Duration::from_millis(300), specs.changed())
            .await
            .is_err()
    );
    assert!(!running.is_ready());

    api.store.hold(None);
    running.ready().await;
    let specs = specs.borrow_and_update().clone();
    assert_eq!(endpoints(&specs, "demo/web/80"), ["10.0.0.1:8080"]);
    assert_eq!(specs.listeners.len(), 2);
    running.stop().await;
}

#[tokio::test]
async fn changes_are_published_whole_and_soon() {
    let api = loaded().await;
    let running = start(config(), api.client()).await.expect("started");
    let mut specs = running.specs();
    until(&mut specs, |specs| !specs.hosts.is_empty()).await;

    api.apply(slice("web", &["10.0.0.1", "10.0.0.2"]));
    until(&mut specs, |specs| {
        endpoints(specs, "demo/web/80").len() == 2
    })
    .await;

    api.apply(ingress("b", "b.example.com", "web"));
    until(&mut specs, |specs| has_host(specs, "b.example.com")).await;

    api.delete("ingresses", "demo", "a");
    until(&mut specs, |specs| !has_host(specs, "a.example.com")).await;

    api.delete("services", "demo", "web");
    until(&mut specs, |specs| {
        let mut routes = specs.hosts.iter().flat_map(|host| &host.routes);
        routes.any(|route| matches!(route.action, RouteAction::Deny(_)))
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn the_leader_writes_statuses_and_events_and_takes_its_leave() {
    let api = loaded().await;
    api.apply(ingress("broken", "c.example.com", "missing"));
    api.apply(serde_json::json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"namespace": "demo", "name": "one"}}));
    let mut config = leading("one");
    config.pod = Some(Pod {
        namespace: "demo".to_owned(),
        name: "one".to_owned(),
    });
    let running = start(config, api.client()).await.expect("started");

    eventually("the status", || {
        address_of(&api, "a").as_deref() == Some("192.0.2.1")
    })
    .await;
    eventually("the lease", || holder(&api).as_deref() == Some("one")).await;
    eventually("the event", || {
        let wanted = "ServiceNotFound: Service demo/missing does not exist";
        api.events().iter().any(|event| event == wanted)
    })
    .await;
    // What was there before the start has been told before.
    assert!(!api.events().iter().any(|event| event.starts_with("Sync")));

    api.apply(ingress("new", "d.example.com", "web"));
    eventually("the new status", || address_of(&api, "new").is_some()).await;
    eventually("the new event", || {
        api.events()
            .iter()
            .any(|event| event == "Sync: Scheduled for sync")
    })
    .await;

    running.stop().await;
    assert_eq!(address_of(&api, "a"), None);
    assert_eq!(holder(&api).as_deref(), Some(""));
}

#[tokio::test]
async fn one_controller_leads_and_the_other_follows_it() {
    let api = loaded().await;
    let one = start(leading("one"), api.client()).await.expect("started");
    eventually("one leads", || one.is_leading()).await;
    let two = start(leading("two"), api.client()).await.expect("started");
    two.ready().await;
    assert!(!two.is_leading());

    one.stop().await;
    eventually("two leads", || two.is_leading()).await;
    eventually("the status is back", || address_of(&api, "a").is_some()).await;
    two.stop().await;
}

#[tokio::test]
async fn statuses_stay_where_others_may_lead_and_cannot_be_counted() {
    let api = loaded().await;
    let running = start(leading("one"), api.client()).await.expect("started");
    eventually("the status", || address_of(&api, "a").is_some()).await;
    running.stop().await;
    assert!(address_of(&api, "a").is_some());
    assert_eq!(holder(&api).as_deref(), Some(""));
}

#[tokio::test]
async fn a_leader_whose_api_server_hangs_steps_down() {
    let api = loaded().await;
    let running = start(leading("one"), api.client()).await.expect("started");
    eventually("it leads", || running.is_leading()).await;
    api.store.hold(Some("leases"));
    eventually("it steps down", || !running.is_leading()).await;
    api.store.hold(None);
    eventually("it leads again", || running.is_leading()).await;
    running.stop().await;
}

#[tokio::test]
async fn forbidden_ingress_classes_do_not_hold_back_the_rest() {
    let api = loaded().await;
    api.store.forbid("ingressclasses");
    let mut config = config();
    config.watch_namespaces = vec!["demo".to_owned()];
    config.settings.watch_without_class = true;
    let mut classless = ingress("b", "b.example.com", "web");
    classless["spec"]["ingressClassName"] = serde_json::Value::Null;
    api.apply(classless);
    let running = start(config, api.client()).await.expect("started");
    let mut specs = running.specs();
    // One names our class, the other none.
    for host in ["a.example.com", "b.example.com"] {
        until(&mut specs, |specs| has_host(specs, host)).await;
    }
    assert!(running.is_ready());
    running.stop().await;
}

#[tokio::test]
async fn probes_and_metrics_say_how_it_stands() {
    let api = loaded().await;
    api.store.hold(Some("services"));
    let running = start(config(), api.client()).await.expect("started");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    running.serve_admin(listener);
    assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 503"));

    api.store.hold(None);
    running.ready().await;
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    let metrics = get(address, "/metrics").await;
    for line in [
        "nginx_ingress_controller_config_last_reload_successful 1",
        "nginx_ingress_controller_success 1",
        "nginx_ingress_controller_leader_election_status{name=\"\"} 1",
        "portcullis_controller_ingresses 1",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}: {metrics}"
        );
    }
    running.stop().await;
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut connection = TcpStream::connect(address).await.expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    connection
        .write_all(request.as_bytes())
        .await
        .expect("sent");
    let mut answer = String::new();
    connection
        .read_to_string(&mut answer)
        .await
        .expect("an answer");
    answer
}

async fn loaded() -> FakeApi {
    let api = FakeApi::start().await;
    api.apply(class());
    api.apply(service("web"));
    api.apply(slice("web", &["10.0.0.1"]));
    api.apply(ingress("a", "a.example.com", "web"));
    api
}

fn config() -> Config {
    Config::default()
}

fn leading(identity: &str) -> Config {
    Config {
        settings: Settings {
            publish_addresses: vec![Address::parse("192.0.2.1")],
            ..Settings::default()
        },
        election: Some(Election {
            ttl: Duration::from_secs(1),
            ..Election::new("demo", identity)
        }),
        ..Config::default()
    }
}

async fn until(specs: &mut watch::Receiver<Arc<Specs>>, wanted: impl Fn(&Specs) -> bool) {
    let found = timeout(DEADLINE, specs.wait_for(|specs| wanted(specs))).await;
    assert!(
        found.is_ok_and(|found| found.is_ok()),
        "not published in time"
    );
}

/// For what the test can only look at.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let polled = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        timeout(DEADLINE, polled).await.is_ok(),
        "{what}: not in time"
    );
}

fn endpoints(specs: &Specs, backend: &str) -> Vec<String> {
    let backend = specs.backends.iter().find(|b| b.name == backend);
    let endpoints = backend.into_iter().flat_map(|backend| &backend.endpoints);
    endpoints
        .map(|endpoint| endpoint.address.to_string())
        .collect()
}

fn has_host(specs: &Specs, name: &str) -> bool {
    specs.hosts.iter().any(|host| host.host.to_string() == name)
}

fn address_of(api: &FakeApi, name: &str) -> Option<String> {
    let ingress = api.get("ingresses", "demo", name)?;
    let address = &ingress["status"]["loadBalancer"]["ingress"][0]["ip"];
    address.as_str().map(str::to_owned)
}

fn holder(api: &FakeApi) -> Option<String> {
    let lease = api.get("leases", "demo", "ingress-controller-leader")?;
    lease["spec"]["holderIdentity"].as_str().map(str::to_owned)
}

const DEADLINE: Duration = Duration::from_secs(10);
