//! The running server over real sockets.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis_echo::{Config, run};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

#[tokio::test]
async fn a_request_comes_back_as_json() {
    let echo = Echo::start(Duration::ZERO).await;
    let request = Request::post("/a/b?x=1&y=2")
        .header("host", "echo.test")
        .header("x-one", "1")
        .header("x-two", "a")
        .header("x-two", "b")
        .body(Full::from("12345"))
        .unwrap();
    let response = echo.http1(request).await;
    assert_eq!(response.headers()["x-echo-pod"], "echo-0");
    let mut dump = body_json(response).await;
    assert!(dump["remote"].as_str().unwrap().starts_with("127.0.0.1:"));
    dump["remote"] = Value::Null;
    let expected = json!({
        "pod": "echo-0", "namespace": "demo",
        "method": "POST", "path": "/a/b", "query": "x=1&y=2",
        "host": "echo.test", "protocol": "HTTP/1.1", "remote": null,
        "headers": {"host": "echo.test", "content-length": "5", "x-one": "1", "x-two": ["a", "b"]},
        "body_bytes": 5,
    });
    assert_eq!(dump, expected);
}

#[tokio::test]
async fn http2_in_plaintext_is_understood() {
    let echo = Echo::start(Duration::ZERO).await;
    let io = TokioIo::new(TcpStream::connect(echo.address).await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://two.test/")
        .body(Full::<Bytes>::default())
        .unwrap();
    let dump = body_json(sender.send_request(request).await.unwrap()).await;
    assert_eq!(dump["protocol"], "HTTP/2.0");
    assert_eq!(dump["host"], "two.test");
}

#[tokio::test]
async fn the_query_shapes_the_answer() {
    let echo = Echo::start(Duration::ZERO).await;
    let response = echo.get("/?status=418").await;
    assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
    let response = echo.get("/?size=100000&delay=1ms").await;
    assert_eq!(
        response
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .len(),
        100_000
    );
    for (query, sentence) in [
        ("delay=16s", "delay must be like 250ms or 2s, at most 15s\n"),
        ("delay=1", "delay must be like 250ms or 2s, at most 15s\n"),
        ("status=101", "status must be from 200 to 599\n"),
        (
            "size=16777217",
            "size must be a number of bytes, at most 16777216\n",
        ),
    ] {
        let response = echo.get(&format!("/?{query}")).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{query}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, sentence, "{query}");
    }
}

#[tokio::test]
async fn a_leaving_echo_still_answers_but_is_not_ready() {
    let mut echo = Echo::start(Duration::from_secs(3600)).await;
    assert_eq!(echo.get("/readyz").await.status(), StatusCode::OK);
    echo.stop();
    while echo.get("/readyz").await.status() == StatusCode::OK {}
    let response = echo.get("/").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["connection"], "close");
    assert_eq!(echo.get("/healthz").await.status(), StatusCode::OK);
    echo.task.abort();
}

#[tokio::test]
async fn a_request_in_progress_survives_the_shutdown() {
    let mut echo = Echo::start(Duration::ZERO).await;
    let io = TokioIo::new(TcpStream::connect(echo.address).await.unwrap());
    let (mut sender, connection) = http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    // The answer cannot begin before the body ends, which is after the shutdown.
    let (body, rest) = body_in_two_parts();
    let request = Request::post("/").header("host", "a").body(body).unwrap();
    let answer = tokio::spawn(async move { sender.send_request(request).await });
    rest.started.await.unwrap();
    echo.stop();
    while TcpStream::connect(echo.address).await.is_ok() {}
    rest.finish.send(()).unwrap();
    let dump = body_json(answer.await.unwrap().unwrap()).await;
    assert_eq!(dump["body_bytes"], 10);
    echo.task.await.unwrap();
}

struct Echo {
    address: SocketAddr,
    shutdown: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Echo {
    async fn start(lame_duck: Duration) -> Self {
        let (ready, address) = oneshot::channel();
        let (shutdown, stopped) = oneshot::channel();
        let config = Config {
            port: 0,
            pod_name: "echo-0".to_owned(),
            pod_namespace: "demo".to_owned(),
            lame_duck,
            ..Config::default()
        };
        let task = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            run(config, ready, stopped).await.unwrap();
        });
        let port = address.await.unwrap().port();
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            shutdown: Some(shutdown),
            task,
        }
    }

    fn stop(&mut self) {
        self.shutdown.take().unwrap().send(()).unwrap();
    }

    async fn get(&self, target: &str) -> Response<hyper::body::Incoming> {
        let request = Request::get(target)
            .header("host", "a")
            .body(Full::default())
            .unwrap();
        self.http1(request).await
    }

    async fn http1(&self, request: Request<Full<Bytes>>) -> Response<hyper::body::Incoming> {
        let io = TokioIo::new(TcpStream::connect(self.address).await.unwrap());
        let (mut sender, connection) = http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    }
}

struct Rest {
    started: oneshot::Receiver<()>,
    finish: oneshot::Sender<()>,
}

/// A body whose second half waits for the test.
fn body_in_two_parts() -> (
    impl hyper::body::Body<Data = Bytes, Error = std::convert::Infallible> + Send + Unpin + 'static,
    Rest,
) {
    let (starts, started) = oneshot::channel();
    let (finish, finished) = oneshot::channel::<()>();
    let frame = |text: &'static str| Ok(hyper::body::Frame::data(Bytes::from(text)));
    let first = async move {
        starts.send(()).unwrap();
        frame("12345")
    };
    let second = async move {
        finished.await.unwrap();
        frame("67890")
    };
    use futures::stream::{StreamExt, once};
    let frames = once(first).chain(once(second)).boxed();
    (
        http_body_util::StreamBody::new(frames),
        Rest { started, finish },
    )
}

async fn body_json(response: Response<hyper::body::Incoming>) -> Value {
    assert_eq!(response.headers()["content-type"], "application/json");
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}
