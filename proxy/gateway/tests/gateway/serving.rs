//! Requests through a running gateway: routing, headers, errors.

use crate::stage::{Client, Origin, Stage, get};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn forwards_by_host_and_answers_404_503_502() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let mut stage = Stage::start(Default::default());
    stage.forward("a.example", &[a.address]);
    stage.forward("*.b.example", &[b.address]);
    stage.forward("empty.example", &[]);
    stage.forward("dead.example", &["127.0.0.1:1".parse().unwrap()]);
    let report = stage.apply();
    assert_eq!(report.refusals, []);
    let http = stage.http();
    assert_eq!(get(http, "a.example", "/").await.body, "a");
    assert_eq!(get(http, "A.Example.:80", "/x?y").await.body, "a");
    assert_eq!(get(http, "x.b.example", "/").await.body, "b");
    let unknown = get(http, "x.y.b.example", "/").await;
    assert_eq!(
        (unknown.status, unknown.body.as_str()),
        (404, "default backend - 404")
    );
    assert_eq!(get(http, "empty.example", "/").await.status, 503);
    assert_eq!(get(http, "dead.example", "/").await.status, 502);
}

#[tokio::test]
async fn sets_the_headers_that_ingress_nginx_sets() {
    let origin = Origin::named("a").await;
    let mut stage = Stage::start(Default::default());
    stage.forward("a.example", &[origin.address]);
    stage.apply();
    let mut client = Client::connect(stage.http()).await;
    let reply = client
        .send(
            "GET /p%20q?x=y HTTP/1.1\r\nhost: a.example\r\nx-forwarded-for: 6.6.6.6\r\nX_Real_IP: 6\r\n\
             x-real-ip: 6.6.6.6\r\nx-forwarded-proto: https\r\nx-forwarded-host: evil\r\nproxy: evil\r\n\
             connection: x-real-ip, keep-alive, x-hop\r\nx-hop: 1\r\nkeep-alive: 1\r\nte: trailers\r\n\
             x-original-forwarded-for: 7\r\nforwarded: for=6\r\nexpect-not: 1\r\n\r\n",
        )
        .await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("server"), None);
    assert!(reply.header("date").is_some());
    let port = stage.http().port();
    let seen = origin.requests().remove(0);
    let mut lines: Vec<&str> = seen.trim_end().lines().collect();
    assert_eq!(lines.remove(0), "GET /p%20q?x=y HTTP/1.1");
    lines.sort_unstable();
    let id = lines.iter().find_map(|l| l.strip_prefix("x-request-id: "));
    let id = id.expect("request id").to_owned();
    assert_eq!(
        (id.len(), id.bytes().all(|b| b.is_ascii_hexdigit())),
        (32, true)
    );
    assert_eq!(
        lines,
        [
            "expect-not: 1",
            "host: a.example",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: a.example",
            &format!("x-forwarded-port: {port}"),
            "x-forwarded-proto: http",
            "x-forwarded-scheme: http",
            "x-original-forwarded-for: 6.6.6.6",
            "x-original-forwarded-host: evil",
            "x-real-ip: 127.0.0.1",
            &format!("x-request-id: {id}"),
            "x-scheme: http",
        ]
    );
}

#[tokio::test]
async fn a_proxy_in_front_is_believed_when_told_so() {
    let origin = Origin::named("a").await;
    let mut stage = Stage::start(Default::default());
    crate::stage::global(&mut stage.specs, |g| g.use_forwarded_headers = true);
    stage.forward("a", &[origin.address]);
    stage.apply();
    let mut client = Client::connect(stage.http()).await;
    client
        .send(
            "GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 6.6.6.6, 7.7.7.7\r\nx-forwarded-proto: https\r\n\
             x-forwarded-host: b\r\nx-forwarded-port: 8443\r\nx-request-id: mine\r\n\r\n",
        )
        .await;
    let seen = origin.requests().remove(0);
    for line in [
        "x-real-ip: 6.6.6.6\r\n",
        "x-forwarded-proto: https\r\n",
        "x-forwarded-host: b\r\n",
        "x-forwarded-port: 8443\r\n",
        "x-request-id: mine\r\n",
    ] {
        assert!(seen.contains(line), "{line} not in {seen}");
    }
}

#[tokio::test]
async fn streams_bodies_both_ways() {
    let origin = Origin::answering(|request| {
        let body = request.split_once("\r\n\r\n").unwrap().1;
        crate::stage::ok(body)
    })
    .await;
    let mut stage = Stage::start(Default::default());
    stage.forward("a", &[origin.address]);
    stage.apply();
    let mut client = Client::connect(stage.http()).await;
    let body = "0123456789".repeat(20_000);
    let length = body.len();
    let request = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{body}");
    let reply = client.send(&request).await;
    assert_eq!((reply.status, reply.body.len()), (200, body.len()));
    let chunked =
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let reply = client.send(chunked).await;
    assert_eq!(reply.status, 200);
    assert!(reply.body.contains("hello"));
    let seen = origin.requests().pop().unwrap();
    assert!(seen.contains("transfer-encoding: chunked") && !seen.contains("content-length"));
    let odd = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0005\r\n\r\nhello";
    assert_eq!(client.send(odd).await.body, "hello");
    let seen = origin.requests().pop().unwrap();
    assert!(seen.contains("\r\ncontent-length: 5\r\n"), "{seen}");
}

#[tokio::test]
async fn head_and_304_have_no_body_and_keep_the_connection() {
    let origin = Origin::answering(|request| match request.starts_with("HEAD") {
        true => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n".into(),
        false => "HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n".into(),
    })
    .await;
    let mut stage = Stage::start(Default::default());
    stage.forward("a", &[origin.address]);
    stage.apply();
    let mut client = Client::connect(stage.http()).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.read().await.unwrap().status, 304);
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.read().await.unwrap().status, 304);
    client
        .write("HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await;
    let mut rest = String::new();
    client.stream.read_to_string(&mut rest).await.unwrap();
    assert!(
        rest.starts_with("HTTP/1.1 200 OK\r\n") && rest.ends_with("\r\n\r\n"),
        "{rest:?}"
    );
    assert!(rest.contains("content-length: 5"));
}

#[tokio::test]
async fn a_slow_upstream_gets_504_and_its_connection_is_not_reused() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut stage = Stage::start(Default::default());
    stage.forward_with("a", &[silent.local_addr().unwrap()], |f| {
        f.timeouts.read_ms = 200;
    });
    stage.apply();
    let started = std::time::Instant::now();
    let reply = crate::stage::get(stage.http(), "a", "/").await;
    assert_eq!(reply.status, 504);
    assert!(started.elapsed() >= std::time::Duration::from_millis(200));
}

#[tokio::test]
async fn a_websocket_passes_both_ways_after_101() {
    let origin = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut stage = Stage::start(Default::default());
    stage.forward("a", &[origin.local_addr().unwrap()]);
    stage.apply();
    let echo = tokio::spawn(async move {
        let (mut stream, _) = origin.accept().await.unwrap();
        let mut buffer = Vec::new();
        let head = crate::stage::read_message(&mut stream, &mut buffer)
            .await
            .unwrap();
        assert!(head.contains("upgrade: websocket") && head.contains("connection: upgrade"));
        let switch =
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        stream.write_all(switch.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    });
    let mut client = Client::connect(stage.http()).await;
    let reply = client
        .send("GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n")
        .await;
    assert_eq!(reply.status, 101);
    client.write("\0\x01\n not http").await;
    let mut back = [0; 12];
    client.stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"\0\x01\n not http");
    client.stream.shutdown().await.unwrap();
    echo.await.unwrap();
}

#[tokio::test]
async fn a_websocket_lives_while_either_side_speaks_and_not_longer() {
    let origin = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut stage = Stage::start(Default::default());
    stage.forward_with("a", &[origin.local_addr().unwrap()], |f| {
        f.timeouts.read_ms = 2_000;
    });
    stage.apply();
    let uploads = 12;
    let listener = tokio::spawn(async move {
        let (mut stream, _) = origin.accept().await.unwrap();
        let mut buffer = Vec::new();
        crate::stage::read_message(&mut stream, &mut buffer)
            .await
            .unwrap();
        let switch =
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        stream.write_all(switch.as_bytes()).await.unwrap();
        let mut heard = vec![0; uploads];
        stream.read_exact(&mut heard).await.unwrap();
        stream.write_all(b"thanks").await.unwrap();
        // Nobody speaks any more.
        assert_eq!(stream.read(&mut heard).await.unwrap_or(0), 0);
    });
    let mut client = Client::connect(stage.http()).await;
    let reply = client
        .send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        .await;
    assert_eq!(reply.status, 101);
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(250));
    for _ in 0..uploads {
        pace.tick().await;
        client.write("x").await;
    }
    let mut back = [0; 6];
    client.stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"thanks");
    assert!(client.is_closed().await);
    listener.await.unwrap();
}
