//! What a client may not say: framing, hosts, sizes. Nothing of it reaches an origin.

use crate::stage::{Client, Origin, Stage};

async fn stage() -> (Stage, Origin) {
    let origin = Origin::named("a").await;
    let mut stage = Stage::start(Default::default());
    stage.forward_with("a", &[origin.address], |f| f.max_request_body_bytes = 10);
    stage.apply();
    (stage, origin)
}

#[tokio::test]
async fn smuggling_gets_400_and_a_closed_connection() {
    let (stage, origin) = stage().await;
    for request in [
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nx",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\nhost: a\n\n",
        "GET / HTTP/1.1\r\nhost: a\nx: y\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx : y\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n folded: y\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a b\r\n\r\n",
        "GET http://b/ HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET http://user@a/ HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET * HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1 x\r\nhost: a\r\n\r\n",
    ] {
        let mut client = Client::connect(stage.http()).await;
        let reply = client.send(request).await;
        assert_eq!(reply.status, 400, "{request:?}: {reply:?}");
        assert!(client.is_closed().await, "{request:?}");
    }
    assert_eq!(origin.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn a_path_without_a_normal_form_gets_400() {
    let (stage, origin) = stage().await;
    for path in ["/..", "/a/../../b", "/%00", "/%zz", "/%2e%2e"] {
        let reply = crate::stage::get(stage.http(), "a", path).await;
        assert_eq!(reply.status, 400, "{path}");
    }
    assert_eq!(origin.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn connect_gets_405() {
    let (stage, _origin) = stage().await;
    let mut client = Client::connect(stage.http()).await;
    let reply = client
        .send("CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n")
        .await;
    assert_eq!(reply.status, 405);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_bad_pipelined_request_does_not_spoil_the_good_one_before_it() {
    let (stage, origin) = stage().await;
    let mut client = Client::connect(stage.http()).await;
    client
        .write("GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\nx : y\r\n\r\n")
        .await;
    assert_eq!(client.read().await.unwrap().status, 200);
    assert_eq!(client.read().await.unwrap().status, 400);
    assert!(client.is_closed().await);
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn large_heads_get_431_and_large_bodies_413() {
    let (stage, origin) = stage().await;
    let mut client = Client::connect(stage.http()).await;
    let long = "x".repeat(40 << 10);
    let reply = client
        .send(&format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n"))
        .await;
    assert_eq!(reply.status, 431);
    let mut client = Client::connect(stage.http()).await;
    let many: String = (0..200).map(|n| format!("x{n}: y\r\n")).collect();
    let reply = client
        .send(&format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n"))
        .await;
    assert_eq!(reply.status, 431);
    let mut client = Client::connect(stage.http()).await;
    let reply = client
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\n")
        .await;
    assert_eq!(reply.status, 413);
    assert!(client.is_closed().await);
    assert_eq!(origin.requests(), Vec::<String>::new());
    let mut client = Client::connect(stage.http()).await;
    client
        .write("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n8\r\n12345678\r\n")
        .await;
    client.write("8\r\n12345678\r\n").await;
    assert_eq!(client.read().await.unwrap().status, 413);
    let mut client = Client::connect(stage.http()).await;
    let reply = client
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n0123456789")
        .await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "a"));
}

#[tokio::test]
async fn bytes_sent_before_an_upgrade_is_agreed_go_nowhere() {
    let (stage, origin) = stage().await;
    let mut client = Client::connect(stage.http()).await;
    client
        .write(
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n\
             GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
        )
        .await;
    assert_eq!(client.read().await.unwrap().status, 200);
    assert_eq!(client.read().await.unwrap().status, 200);
    let requests = origin.requests();
    assert!(
        requests[1].starts_with("GET /smuggled"),
        "a request like any other"
    );
    assert!(requests.iter().all(|r| r.matches("HTTP/1.1").count() == 1));
}
