//! Connections over workers: spread, bounded, never stuck behind a full one.

use std::net::SocketAddr;

use portcullis_gateway::{Config, Limits};

use crate::stage::{Client, PATIENCE, Stage, eventually, get};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

fn stage(connections: Option<usize>) -> Stage {
    let stage = Stage::start(Config {
        admin: Some("127.0.0.1:0".parse().unwrap()),
        limits: Limits {
            connections,
            ..Limits::default()
        },
        ..Config::default()
    });
    stage.apply();
    stage
}

/// A client that has been served.
async fn served(http: SocketAddr) -> Client {
    let mut client = Client::connect(http).await;
    assert_eq!(client.send(GET).await.status, 404);
    client
}

async fn metric(stage: &Stage, name: &str) -> i64 {
    let admin = stage.gateway.admin_address().unwrap();
    let metrics = get(admin, "x", "/metrics").await.body;
    let mut lines = metrics.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap().parse().unwrap()
}

/// Open connections of both workers.
async fn spread(stage: &Stage) -> [i64; 2] {
    [
        metric(stage, "portcullis_worker_connections{worker=\"0\"}").await,
        metric(stage, "portcullis_worker_connections{worker=\"1\"}").await,
    ]
}

#[tokio::test]
async fn what_is_left_of_uneven_leaving_is_evened_out() {
    let stage = stage(None);
    let http = stage.http();
    let (mut kept, mut leaving) = (vec![], vec![]);
    let mut before = spread(&stage).await;
    while before[0] < 100 {
        let client = served(http).await;
        let after = spread(&stage).await;
        match after[0] > before[0] {
            true => kept.push(client),
            false => leaving.push(client),
        }
        before = after;
    }
    drop(leaving);
    while spread(&stage).await[1] > 0 {
        tokio::task::yield_now().await;
    }
    // What is fair is known from the next tick on: then a connection moves.
    let end = std::time::Instant::now() + PATIENCE;
    while metric(&stage, "portcullis_connections_handed_over_total").await == 0 {
        assert!(std::time::Instant::now() < end, "nothing is handed over");
        drop(served(http).await);
    }
    // The kernel gives every other of these to the worker that has all the others.
    while spread(&stage).await.iter().sum::<i64>() < 140 {
        kept.push(served(http).await);
    }
    let spread = spread(&stage).await;
    let total: i64 = spread.iter().sum();
    assert!(
        spread.iter().all(|open| open * 4 <= total * 3 + 4),
        "{spread:?}"
    );
}

#[tokio::test]
async fn nobody_waits_behind_idle_clients() {
    let stage = stage(Some(16));
    let http = stage.http();
    let mut clients = vec![];
    for _ in 0..100 {
        clients.push(served(http).await);
    }
    let open = spread(&stage).await;
    assert!(open.iter().all(|open| *open <= 16), "{open:?}");
    let mut newest = clients.pop().unwrap();
    assert_eq!(newest.send(GET).await.status, 404);
    assert!(clients[0].is_closed().await, "the oldest made room");
}

#[tokio::test]
async fn whoever_finds_no_room_is_served_when_somebody_leaves() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut stage = stage(Some(2));
    stage.forward("busy", &[silent.local_addr().unwrap()]);
    stage.apply();
    let http = stage.http();
    let mut busy = vec![];
    for _ in 0..4 {
        let mut client = Client::connect(http).await;
        client.write("GET / HTTP/1.1\r\nhost: busy\r\n\r\n").await;
        busy.push((client, silent.accept().await.unwrap()));
    }
    let waiting = tokio::spawn(served(http));
    while metric(&stage, "portcullis_accept_pauses_total").await == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished(), "nobody busy is cut");
    busy.pop();
    eventually("served", || waiting.is_finished()).await;
    waiting.await.unwrap();
}
