//! What the gateway says about itself.

use std::{path::Path, sync::Arc};

use portcullis_gateway::{AccessLogTarget, Config, spec::ListenerProtocol};

use crate::stage::{self, Client, Origin, Stage, eventually, get};

async fn stage(log: &Path) -> (Stage, Origin) {
    let origin = Origin::named("hello").await;
    let mut stage = Stage::start(Config {
        admin: Some("127.0.0.1:0".parse().unwrap()),
        access_log: AccessLogTarget::File(log.to_owned()),
        ..Config::default()
    });
    stage::global(&mut stage.specs, |g| g.access_log = true);
    stage.forward("a.example", &[origin.address]);
    (stage, origin)
}

#[tokio::test]
async fn the_access_log_is_ingress_nginx_byte_for_byte() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let (stage, origin) = stage(&path).await;
    stage.apply();
    let mut client = Client::connect(stage.http()).await;
    let request = "GET /x?y=z HTTP/1.1\r\nhost: a.example\r\nuser-agent: a \"b\"\r\n\
                   x-request-id: id1\r\nauthorization: Basic dXNlcjpwYXNz\r\n\r\n";
    client.send(request).await;
    client.send("GET /none HTTP/1.1\r\nhost: b\r\n\r\n").await;
    let lines = || std::fs::read_to_string(&path).unwrap_or_default();
    eventually("two lines", || lines().lines().count() == 2).await;
    let lines = lines();
    let mut lines = lines.lines();
    let first = regex_free(lines.next().unwrap());
    let length = request.len();
    let endpoint = origin.address;
    assert_eq!(
        first,
        format!(
            "127.0.0.1 - user [T] \"GET /x?y=z HTTP/1.1\" 200 5 \"-\" \"a \\x22b\\x22\" {length} 0.N \
             [ns-svc-80] [] {endpoint} 5 0.N 200 id1"
        )
    );
    let second = regex_free(lines.next().unwrap());
    assert_eq!(
        second,
        "127.0.0.1 - - [T] \"GET /none HTTP/1.1\" 404 21 \"-\" \"-\" 31 0.N \
         [upstream-default-backend] [] - - - - -"
    );
}

/// Times vary: the date becomes `T`, milliseconds become `N`.
fn regex_free(line: &str) -> String {
    let (before, rest) = line.split_once('[').unwrap();
    let (date, after) = rest.split_once(']').unwrap();
    assert!(date.len() == 26 && date.ends_with(" +0000"), "{date}");
    let words = after.split(' ').map(|word| match word.strip_prefix("0.") {
        Some(digits) if digits.len() == 3 => "0.N",
        _ => word,
    });
    format!("{before}[T]{}", words.collect::<Vec<_>>().join(" "))
}

#[tokio::test]
async fn a_denied_request_is_logged_with_its_id() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let (mut stage, _origin) = stage(&path).await;
    stage.route("denied", vec![]);
    stage.apply();
    let mut client = Client::connect(stage.http()).await;
    let request = "GET / HTTP/1.1\r\nhost: denied\r\nx-request-id: id7\r\n\r\n";
    assert_eq!(client.send(request).await.status, 503);
    let log = || std::fs::read_to_string(&path).unwrap_or_default();
    eventually("its line", || log().ends_with(" id7\n")).await;
}

#[tokio::test]
async fn it_is_not_ready_before_every_listener_is_bound() {
    let directory = tempfile::tempdir().unwrap();
    let (mut stage, _origin) = stage(&directory.path().join("log")).await;
    let admin = stage.gateway.admin_address().unwrap();
    let occupant = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut taken = stage::listener("taken", ListenerProtocol::Http);
    taken.port = occupant.local_addr().unwrap().port();
    stage.specs.listeners.push(Arc::new(taken));
    assert_eq!(stage.apply().refusals.len(), 1);
    assert_eq!(get(admin, "x", "/readyz").await.status, 503);
    drop(occupant);
    let is_bound = || stage.gateway.bound().iter().any(|b| b.name == "taken");
    eventually("the freed port is taken", is_bound).await;
    let address = stage.address("taken");
    assert_eq!(get(address, "a.example", "/").await.status, 200);
    assert_eq!(get(admin, "x", "/readyz").await.status, 200);
}

#[tokio::test]
async fn admin_answers_health_readiness_and_metrics() {
    let directory = tempfile::tempdir().unwrap();
    let (stage, _origin) = stage(&directory.path().join("log")).await;
    let admin = stage.gateway.admin_address().unwrap();
    assert_eq!(get(admin, "x", "/healthz").await.status, 200);
    assert_eq!(get(admin, "x", "/readyz").await.status, 503);
    stage.apply();
    assert_eq!(get(admin, "x", "/readyz").await.status, 200);
    for _ in 0..3 {
        get(stage.http(), "a.example", "/x").await;
    }
    get(stage.http(), "unknown", "/x").await;
    let labels = "controller_class=\"portcullis.dev/ingress\",controller_namespace=\"portcullis\",\
                  controller_pod=\"portcullis\",canary=\"\",host=\"a.example\",ingress=\"ing\",\
                  method=\"GET\",namespace=\"ns\",path=\"/\",service=\"svc\",status=\"200\"";
    let wanted = [
        format!("nginx_ingress_controller_requests{{{labels}}} 3"),
        format!("nginx_ingress_controller_request_duration_seconds_count{{{labels}}} 3"),
        format!("nginx_ingress_controller_response_size_count{{{labels}}} 3"),
        "portcullis_table_routes 1".to_owned(),
        "portcullis_unmatched_requests_total 1".to_owned(),
    ];
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let metrics = get(admin, "x", "/metrics").await.body;
        if wanted.iter().all(|line| metrics.contains(line)) {
            return;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "{wanted:#?} not all in\n{metrics}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn pipelined_requests_are_logged_with_their_own_lengths() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let (stage, _origin) = stage(&path).await;
    stage.apply();
    let short = "GET /short HTTP/1.1\r\nhost: a.example\r\n\r\n";
    let long = "GET /long HTTP/1.1\r\nhost: a.example\r\nx: 0123456789\r\n\r\n";
    let mut client = Client::connect(stage.http()).await;
    client.write(&format!("{short}{long}{short}")).await;
    for _ in 0..3 {
        assert_eq!(client.read().await.unwrap().status, 200);
    }
    let lines = || std::fs::read_to_string(&path).unwrap_or_default();
    eventually("three lines", || lines().lines().count() == 3).await;
    let lengths: Vec<usize> = lines()
        .lines()
        .map(|line| {
            let after = line.rsplit_once("\" ").unwrap().1;
            after.split(' ').next().unwrap().parse().unwrap()
        })
        .collect();
    assert_eq!(lengths, [short.len(), long.len(), short.len()]);
}

#[tokio::test]
async fn a_log_reader_that_stopped_does_not_keep_the_gateway_from_ending() {
    let (_reader, mut writer) = std::io::pipe().unwrap();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
    let (stage, _origin) = stage(Path::new(&path)).await;
    // What Linux gives a pipe: the next byte waits for a reader.
    std::io::Write::write_all(&mut writer, &[0; 64 << 10]).unwrap();
    stage.apply();
    assert_eq!(get(stage.http(), "a.example", "/x").await.status, 200);
    let (ended, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        drop(stage.gateway);
        let _ = ended.send(());
    });
    end.recv_timeout(stage::PATIENCE).expect("it ends");
}

#[tokio::test]
async fn what_the_framing_check_refuses_is_logged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let (stage, origin) = stage(&path).await;
    stage.apply();
    let mut client = Client::connect(stage.http()).await;
    let smuggled = "GET /ok HTTP/1.1\r\nhost: a.example\r\n\r\n\
                    POST /two HTTP/1.1\r\nhost: a.example\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nx";
    client.write(smuggled).await;
    assert_eq!(client.read().await.unwrap().status, 200);
    assert_eq!(client.read().await.unwrap().status, 400);
    let mut client = Client::connect(stage.http()).await;
    assert_eq!(client.send("nonsense\r\n\r\n").await.status, 400);
    let mut client = Client::connect(stage.http()).await;
    let many: String = (0..200).map(|n| format!("x{n}: y\r\n")).collect();
    let large = format!("GET /large HTTP/1.1\r\nhost: a.example\r\n{many}\r\n");
    assert_eq!(client.send(&large).await.status, 431);
    let lines = || std::fs::read_to_string(&path).unwrap_or_default();
    eventually("four lines", || lines().lines().count() == 4).await;
    let lines: Vec<String> = lines().lines().map(regex_free).collect();
    let is_served = |line: &String| line.contains("\"GET /ok HTTP/1.1\" 200 ");
    let (served, refused): (Vec<_>, Vec<_>) = lines.into_iter().partition(is_served);
    assert_eq!(served.len(), 1);
    for (request, status) in [("POST /two HTTP/1.1", 400), ("nonsense", 400), ("", 431)] {
        let wanted =
            format!("127.0.0.1 - - [T] \"{request}\" {status} 0 \"-\" \"-\" 0 0.N [] [] - - - - ");
        let id = refused.iter().find_map(|line| line.strip_prefix(&wanted));
        let id = id.unwrap_or_else(|| panic!("{wanted} not in {refused:#?}"));
        assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()));
    }
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn a_request_that_is_cut_by_the_end_of_the_gateway_is_logged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let (mut stage, _origin) = stage(&path).await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    stage.forward("silent", &[silent.local_addr().unwrap()]);
    stage.apply();
    let mut client = Client::connect(stage.http()).await;
    client
        .write("GET /cut HTTP/1.1\r\nhost: silent\r\n\r\n")
        .await;
    let (mut asked, _) = silent.accept().await.unwrap();
    stage::read_message(&mut asked, &mut vec![]).await.unwrap();
    drop(stage);
    let log = std::fs::read_to_string(&path).unwrap();
    assert!(log.contains("\"GET /cut HTTP/1.1\" 499 "), "{log:?}");
}
