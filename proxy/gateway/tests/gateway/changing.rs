//! Changes under traffic: nothing is lost, nothing is forgotten.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use portcullis_gateway::spec::{EndpointState, GlobalSpec};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
};

use crate::stage::{self, Client, Origin, PATIENCE, Stage, backend, eventually, get, ok};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test]
async fn a_stale_pooled_connection_costs_no_request() {
    // Every connection is closed without a word after one answer.
    let origin = Origin::serving(Arc::new(|_: &str| ok("a")), 1).await;
    let mut stage = Stage::start(Default::default());
    stage.forward("a", &[origin.address]);
    stage.apply();
    let mut client = Client::connect(stage.http()).await;
    for _ in 0..50 {
        assert_eq!(client.send(GET).await.status, 200);
    }
}

#[tokio::test]
async fn endpoints_come_and_go_under_load_without_loss() {
    let mut origins = vec![];
    for name in ["a", "b", "c"] {
        origins.push(Origin::named(name).await);
    }
    let all: Vec<_> = origins.iter().map(|o| o.address).collect();
    let mut stage = Stage::start(Default::default());
    stage.forward("a", &all);
    stage.apply();
    let (stop, served) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let http = stage.http();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (stop, served) = (stop.clone(), served.clone());
        clients.spawn(async move {
            let mut client = Client::connect(http).await;
            while !stop.load(Relaxed) {
                assert_eq!(client.send(GET).await.status, 200);
                served.fetch_add(1, Relaxed);
            }
        });
    }
    for round in 0..40 {
        let from = served.load(Relaxed);
        let kept = &all[round % 3..=round % 3];
        stage.backend("ns-a-80", if round % 2 == 0 { kept } else { &all });
        stage.forward(&format!("new-{round}"), &all);
        stage.apply();
        eventually("traffic", || served.load(Relaxed) > from + 8).await;
    }
    stop.store(true, Relaxed);
    while let Some(result) = clients.join_next().await {
        result.expect("no request was lost");
    }
}

#[tokio::test]
async fn a_removed_endpoint_gets_nothing_more_and_its_idle_connections_are_closed() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = Origin::named("other").await;
    let mut stage = Stage::start(Default::default());
    stage.forward("a", &[listener.local_addr().unwrap()]);
    stage.apply();
    let http = stage.http();
    let request = tokio::spawn(async move { get(http, "a", "/").await });
    let (stream, _) = listener.accept().await.unwrap();
    let mut upstream = stream;
    let mut buffer = vec![];
    stage::read_message(&mut upstream, &mut buffer)
        .await
        .unwrap();
    // In flight while its endpoint goes: it finishes.
    stage.backend("ns-a-80", &[other.address]);
    stage.apply();
    tokio::io::AsyncWriteExt::write_all(&mut upstream, ok("last").as_bytes())
        .await
        .unwrap();
    assert_eq!(request.await.unwrap().body, "last");
    let mut byte = [0];
    let read = tokio::io::AsyncReadExt::read(&mut upstream, &mut byte);
    let read = tokio::time::timeout(PATIENCE, read)
        .await
        .expect("closed in time");
    assert_eq!(read.unwrap(), 0);
    assert_eq!(get(http, "a", "/").await.body, "other");
}

#[tokio::test]
async fn terminating_endpoints_serve_only_when_nothing_is_ready() {
    let (ready, leaving) = (Origin::named("ready").await, Origin::named("leaving").await);
    let mut stage = Stage::start(Default::default());
    stage.forward("a", &[]);
    let mut spec = backend("ns-a-80", &[ready.address, leaving.address]);
    spec.endpoints[1].state = EndpointState::Terminating;
    stage.specs.backends = vec![Arc::new(spec.clone())];
    stage.apply();
    for _ in 0..4 {
        assert_eq!(get(stage.http(), "a", "/").await.body, "ready");
    }
    spec.endpoints.remove(0);
    stage.specs.backends = vec![Arc::new(spec)];
    stage.apply();
    assert_eq!(get(stage.http(), "a", "/").await.body, "leaving");
}

#[tokio::test]
async fn a_drain_finishes_what_runs_and_lets_go_of_what_idles() {
    let (release, held) = tokio::sync::watch::channel(false);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut stage = Stage::start(Default::default());
    stage.forward("a", &[listener.local_addr().unwrap()]);
    stage.apply();
    let origin = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stage::read_message(&mut stream, &mut vec![]).await.unwrap();
        let mut held = held;
        held.wait_for(|released| *released).await.unwrap();
        let response = ok("done");
        tokio::io::AsyncWriteExt::write_all(&mut stream, response.as_bytes())
            .await
            .unwrap();
    });
    let http = stage.http();
    let mut idle = Client::connect(http).await;
    assert_eq!(
        idle.send("GET / HTTP/1.1\r\nhost: none\r\n\r\n")
            .await
            .status,
        404
    );
    let running = tokio::spawn(async move { get(http, "a", "/").await });
    let gateway = Arc::new(stage.gateway);
    let draining = gateway.clone();
    let drain = tokio::spawn(async move { draining.drain(PATIENCE).await });
    assert!(idle.is_closed().await);
    let refused = || std::net::TcpStream::connect_timeout(&http, Duration::from_secs(1)).is_err();
    eventually("refused", refused).await;
    release.send(true).unwrap();
    let reply = running.await.unwrap();
    assert_eq!(
        (reply.body.as_str(), reply.header("connection")),
        ("done", Some("close"))
    );
    assert_eq!(drain.await.unwrap().cut_connections, 0);
    origin.await.unwrap();
}

#[tokio::test]
async fn a_first_table_right_after_the_start_pools_connections() {
    let origin = Origin::named("a").await;
    for start in 1..=20 {
        let mut stage = Stage::start(Default::default());
        stage.forward("a", &[origin.address]);
        stage.apply();
        let mut client = Client::connect(stage.http()).await;
        for _ in 0..3 {
            assert_eq!(client.send(GET).await.status, 200);
        }
        assert_eq!(origin.connections.load(Relaxed), start);
    }
}

#[tokio::test]
async fn a_slow_reader_gets_its_whole_response_during_a_drain() {
    let body = "x".repeat(8 << 20);
    let response = ok(&body);
    let length = response.len() - "server: secret\r\n".len();
    let origin = Origin::answering(move |_| response.clone()).await;
    let mut stage = Stage::start(Default::default());
    stage.forward("a", &[origin.address]);
    stage.apply();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let mut client = socket.connect(stage.http()).await.unwrap();
    client.write_all(GET.as_bytes()).await.unwrap();
    let mut chunk = vec![0; 32 << 10];
    let mut read = client.read(&mut chunk).await.unwrap();
    let gateway = stage.gateway;
    let drain = tokio::spawn(async move { gateway.drain(PATIENCE).await });
    loop {
        // Slower than the gateway, so that the end of the body may wait in it.
        tokio::task::yield_now().await;
        match client.read(&mut chunk).await.unwrap() {
            0 => break,
            more => read += more,
        }
    }
    assert!(read > length, "{read} of more than {length} bytes");
    assert_eq!(drain.await.unwrap().cut_connections, 0);
}

#[tokio::test]
async fn whoever_connects_just_before_a_drain_is_served() {
    let stage = Stage::start(Default::default());
    stage.apply();
    let http = stage.http();
    let mut late = Client::connect(http).await;
    let mut silent = Client::connect(http).await;
    let mut served = Client::connect(http).await;
    assert_eq!(served.send(GET).await.status, 404);
    let gateway = stage.gateway;
    let drain = tokio::spawn(async move { gateway.drain(PATIENCE).await });
    assert!(served.is_closed().await);
    assert_eq!(late.send(GET).await.status, 404);
    assert!(silent.is_closed().await);
    assert_eq!(drain.await.unwrap().cut_connections, 0);
}

#[tokio::test]
async fn a_drain_waits_for_tunnels() {
    let switch =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let origin = Origin::answering(move |_| switch.to_owned()).await;
    let mut stage = Stage::start(Default::default());
    stage.forward("a", &[origin.address]);
    stage.apply();
    let mut client = Client::connect(stage.http()).await;
    let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    assert_eq!(client.send(request).await.status, 101);
    let report = stage.gateway.drain(Duration::from_millis(300)).await;
    assert_eq!(report.cut_connections, 1);
    drop(client);
    let report = stage.gateway.drain(PATIENCE).await;
    assert_eq!(report.cut_connections, 0);
}

#[tokio::test]
async fn clients_that_dawdle_are_cut() {
    let mut stage = Stage::start(Default::default());
    stage::global(&mut stage.specs, |g: &mut GlobalSpec| {
        g.client_header_timeout_ms = 300;
        g.keep_alive_timeout_ms = 300;
    });
    stage.apply();
    let mut silent = Client::connect(stage.http()).await;
    let mut dripping = Client::connect(stage.http()).await;
    dripping.write("GET / HTTP/1.1\r\n").await;
    let mut starting = Client::connect(stage.http()).await;
    starting.write("GE").await;
    let mut idle = Client::connect(stage.http()).await;
    assert_eq!(idle.send(GET).await.status, 404);
    assert!(starting.is_closed().await);
    assert!(silent.is_closed().await);
    assert!(dripping.is_closed().await);
    assert!(idle.is_closed().await);
}

#[tokio::test]
async fn a_drain_of_a_quiet_gateway_serves_its_accept_queue() {
    for _ in 0..20 {
        let stage = Stage::start(Default::default());
        stage.apply();
        let http = stage.http();
        let mut clients = vec![];
        for _ in 0..8 {
            let mut client = std::net::TcpStream::connect(http).unwrap();
            std::io::Write::write_all(&mut client, GET.as_bytes()).unwrap();
            clients.push(client);
        }
        // This thread has kept the runtime to itself: nothing but the kernel has seen the clients for certain.
        let report = stage.gateway.drain(PATIENCE).await;
        assert_eq!(report.cut_connections, 0);
        drop(stage);
        for mut client in clients {
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut text = [0; 12];
            std::io::Read::read_exact(&mut client, &mut text).expect("an answer");
            assert_eq!(&text, b"HTTP/1.1 404");
        }
    }
}
