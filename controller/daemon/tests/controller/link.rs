//! The Secrets of controllers and proxies: who makes them, who serves with them, and that nobody is refused meanwhile.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, SystemTime},
};

use crate::fake_api::FakeApi;
use crate::proxies::{Proxy, eventually, has_host, loaded, until};
use k8s_openapi::api::core::v1::Secret;
use portcullis_daemon::{Config, Election, LinkSecret, ObjectKey, Running, start};
use portcullis_pki::{MutualRequest, MutualTls, PemFiles};
use portcullis_serve::tls::{Alpn, client_config};
use serde_json::{Value, json};
use tokio::net::TcpListener;

#[tokio::test]
async fn the_leader_makes_the_secrets_and_every_replica_serves_with_them() {
    let api = loaded().await;
    let (one, first) = controller(&api, "one").await;
    eventually("one leads", || one.is_leading()).await;
    let (two, second) = controller(&api, "two").await;
    eventually("the proxies' Secret", || files(&api, PROXIES).is_some()).await;
    let given = files(&api, PROXIES).expect("seen above");
    let names: Vec<&str> = given.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["ca.crt", "tls.crt", "tls.key"]);
    let made = api.get("secrets", "edge", PROXIES).expect("seen above");
    assert_eq!(made["type"], "kubernetes.io/tls");
    assert!(!two.is_leading());
    for address in [first, second] {
        serves(address, &given).await;
    }
    // Only the leader writes.
    let version = |name| {
        api.get("secrets", "edge", name).expect("there")["metadata"]["resourceVersion"].clone()
    };
    let versions = [version(PROXIES), version(CONTROLLERS)];
    one.stop().await;
    eventually("two leads", || two.is_leading()).await;
    serves(second, &given).await;
    assert_eq!(versions, [version(PROXIES), version(CONTROLLERS)]);
    two.stop().await;
}

#[tokio::test]
async fn nobody_is_refused_while_the_authority_is_exchanged() {
    // An authority with less than a third of its year left, then one whose successor has been known for two days.
    let begun = renew(&PemFiles::default(), &PemFiles::default(), 250);
    let due = renew(&begun.server_files(), &begun.client_files(), 8);
    let known = renew(&due.server_files(), &due.client_files(), 2);
    for (before, what) in [(due, "a successor"), (known, "its turn")] {
        let api = loaded().await;
        put(&api, CONTROLLERS, &before.server_files());
        put(&api, PROXIES, &before.client_files());
        let bundle = |name| files(&api, name).and_then(|all| all.get("ca.crt").map(str::to_owned));
        let issuer = |name| files(&api, name).and_then(|all| all.get("ca.key").map(str::to_owned));
        let (old_bundle, old_issuer) = (bundle(CONTROLLERS), issuer(CONTROLLERS));
        let (controller, address) = controller(&api, "one").await;
        eventually(what, || {
            (bundle(CONTROLLERS), issuer(CONTROLLERS)) != (old_bundle.clone(), old_issuer.clone())
        })
        .await;
        eventually("the same trust on both sides", || {
            bundle(PROXIES) == bundle(CONTROLLERS)
        })
        .await;
        // Mounted files come later than the Secret: both kinds of proxies are there at once.
        serves(address, &before.client_files()).await;
        serves(address, &files(&api, PROXIES).expect("put above")).await;
        controller.stop().await;
    }
}

#[tokio::test]
async fn a_secret_that_somebody_made_empty_or_deleted_is_filled() {
    let api = loaded().await;
    api.apply(
        json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"namespace": "edge", "name": PROXIES, "labels": {"made-by": "a chart"}}}),
    );
    let (controller, address) = controller(&api, "one").await;
    let is_filled = || files(&api, PROXIES).is_some_and(|files| files.get("tls.key").is_some());
    eventually("its content", is_filled).await;
    let made = api.get("secrets", "edge", PROXIES).expect("there");
    assert_eq!(made["type"], "Opaque");
    assert_eq!(made["metadata"]["labels"]["made-by"], "a chart");
    let before = files(&api, PROXIES).expect("there");

    api.delete("secrets", "edge", PROXIES);
    eventually("it comes back", is_filled).await;
    let again = files(&api, PROXIES).expect("there");
    assert!(before.get("tls.crt") != again.get("tls.crt"));
    // The authority is the same: those who have read the one before are not turned away.
    serves(address, &before).await;
    serves(address, &again).await;
    controller.stop().await;
}

async fn controller(api: &FakeApi, identity: &str) -> (Running, SocketAddr) {
    let mut election = Election::new("edge", identity);
    election.ttl = Duration::from_secs(2);
    let config = Config {
        election: Some(election),
        link: Some(LinkSecret {
            secret: ObjectKey::new("edge", PROXIES),
            request: request(),
        }),
        ..Config::default()
    };
    let running = start(config, api.client()).await.expect("started");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.expect("a port");
    let address = listener.local_addr().expect("an address");
    running.serve_proxies(listener, None);
    (running, address)
}

/// A proxy with these files gets what is published.
async fn serves(address: SocketAddr, files: &PemFiles) {
    let text = |name: &str| files.get(name).unwrap_or_default();
    let identity = (text("tls.crt"), text("tls.key"));
    let tls = client_config(text("ca.crt"), Some(identity), Alpn::Http2).expect("TLS");
    let mut proxy = Proxy::start(address, tls, None);
    until(&mut proxy.specs, |specs| has_host(specs, "a.example.com")).await;
}

/// What was held that many days ago.
fn renew(server: &PemFiles, client: &PemFiles, days_ago: u32) -> MutualTls {
    let then = SystemTime::now() - DAY * days_ago;
    MutualTls::renew(server, client, &request(), then).expect("certificates")
}

fn put(api: &FakeApi, name: &str, files: &PemFiles) {
    let bytes = |text: &str| k8s_openapi::ByteString(text.as_bytes().to_vec());
    let data: Value = files
        .iter()
        .map(|(name, text)| (name.to_owned(), json!(bytes(text))))
        .collect::<serde_json::Map<_, _>>()
        .into();
    api.apply(
        json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"namespace": "edge", "name": name}, "data": data}),
    );
}

fn files(api: &FakeApi, name: &str) -> Option<PemFiles> {
    let secret = api.get("secrets", "edge", name)?;
    let secret: Secret = serde_json::from_value(secret).expect("a Secret");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("PEM");
    let data = secret.data?.into_iter();
    Some(data.map(|(name, bytes)| (name, text(bytes.0))).collect())
}

fn request() -> MutualRequest {
    MutualRequest {
        authority_name: "test".to_owned(),
        server_names: vec!["controller.test".to_owned()],
        client_name: "proxy.test".to_owned(),
        authority_lifetime: DAY * 365,
        certificate_lifetime: DAY * 90,
        overlap: DAY,
    }
}

const PROXIES: &str = "link";
const CONTROLLERS: &str = "link-controller";
const DAY: Duration = Duration::from_secs(24 * 3600);
