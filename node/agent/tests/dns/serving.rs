//! Names of the cluster, on the wire.

use crate::client::{ask, over_tcp, over_udp, question, with_edns};
use crate::{Stage, namespace, web};
use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, RData, RecordType};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn nothing_is_denied_before_everything_is_listed() {
    let mut stage = Stage::build(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = listener.local_addr().unwrap();
    stage.running.serve_admin(listener);
    stage.api.put("services", web());
    for name in [
        "web.shop.svc.cluster.local.",
        "7.0.43.10.in-addr.arpa.",
        "cluster.local.",
    ] {
        let answer = ask(stage.server, name, RecordType::A).await;
        assert_eq!(
            answer.metadata.response_code,
            ResponseCode::ServFail,
            "{name}"
        );
    }
    assert!(get(admin, "/readyz").await.starts_with("HTTP/1.1 503"));
    stage.api.open();
    stage.running.ready().await;
    assert!(get(admin, "/readyz").await.starts_with("HTTP/1.1 200"));
    assert_eq!(
        addresses(&ask(stage.server, WEB, RecordType::A).await),
        [WEB_IP]
    );
    let metrics = get(admin, "/metrics").await;
    for line in [
        "portcullis_dns_requests_total{protocol=\"udp\"} 4",
        "portcullis_dns_responses_total{rcode=\"NOERROR\"} 1",
        "portcullis_dns_responses_total{rcode=\"SERVFAIL\"} 3",
        "portcullis_dns_ready 1",
        "portcullis_dns_services 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    stage.running.stop().await;
}

#[tokio::test]
async fn the_specification_on_the_wire() {
    let stage = Stage::ready(&[]).await;
    let answer = ask(stage.server, "wEb.ShOp.SVC.cluster.LOCAL.", RecordType::A).await;
    assert_eq!(addresses(&answer), [WEB_IP]);
    assert!(answer.metadata.authoritative && answer.metadata.recursion_available);
    let record = &answer.answers[0];
    assert!(record.name.eq_case(answer.queries[0].name()), "{record}");
    assert_eq!(record.ttl, 5);

    let nothing = ask(stage.server, WEB, RecordType::AAAA).await;
    assert_eq!(nothing.metadata.response_code, ResponseCode::NoError);
    assert_eq!(denial(&nothing), "cluster.local. 5");
    let nobody = ask(
        stage.server,
        "nobody.shop.svc.cluster.local.",
        RecordType::A,
    )
    .await;
    assert_eq!(nobody.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(denial(&nobody), "cluster.local. 5");
    let nobody = ask(stage.server, "9.0.43.10.in-addr.arpa.", RecordType::PTR).await;
    assert_eq!(nobody.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(denial(&nobody), "43.10.in-addr.arpa. 5");

    let srv = ask(
        stage.server,
        "_http._tcp.web.shop.svc.cluster.local.",
        RecordType::SRV,
    )
    .await;
    let RData::SRV(data) = &srv.answers[0].data else {
        panic!("{srv}");
    };
    assert_eq!((data.port, data.target.to_string().as_str()), (80, WEB));
    assert_eq!(srv.additionals[0].data, RData::A(WEB_IP.into()));
    let ptr = ask(stage.server, "7.0.43.10.in-addr.arpa.", RecordType::PTR).await;
    assert_eq!(ptr.answers[0].data.to_string(), WEB);
    let txt = ask(stage.server, "dns-version.cluster.local.", RecordType::TXT).await;
    assert_eq!(txt.answers[0].data.to_string(), "1.1.0");
    let soa = ask(stage.server, "cluster.local.", RecordType::SOA).await;
    assert_eq!(soa.answers[0].record_type(), RecordType::SOA);
}

#[tokio::test]
async fn a_change_is_seen() {
    let stage = Stage::ready(&[]).await;
    let mut moved = web();
    moved["spec"]["clusterIPs"] = json!(["10.43.0.8"]);
    moved["spec"]["clusterIP"] = json!("10.43.0.8");
    stage.api.put("services", moved.clone());
    until(&stage, |answer| {
        addresses(answer) == [Ipv4Addr::new(10, 43, 0, 8)]
    })
    .await;
    stage.api.delete("services", moved);
    until(&stage, |answer| {
        answer.metadata.response_code == ResponseCode::NXDomain
    })
    .await;
    stage.api.delete("namespaces", namespace("shop"));
    let start = Instant::now();
    while ask(stage.server, "shop.svc.cluster.local.", RecordType::A)
        .await
        .metadata
        .response_code
        != ResponseCode::NXDomain
    {
        assert!(start.elapsed() < DEADLINE);
    }
}

#[tokio::test]
async fn a_large_answer_is_cut_for_udp_and_whole_over_tcp() {
    let stage = Stage::ready(&[]).await;
    stage.api.put(
        "services",
        json!({"metadata": {"name": "db", "namespace": "shop"}, "spec": {"clusterIP": "None"}}),
    );
    stage.api.put("endpointslices", slice(200));
    let start = Instant::now();
    let db = question("db.shop.svc.cluster.local.", RecordType::A);
    loop {
        let answers = over_tcp(stage.server, std::slice::from_ref(&db)).await;
        if addresses(&answers[0]).len() == 200 {
            assert!(!answers[0].metadata.truncation);
            break;
        }
        assert!(start.elapsed() < DEADLINE, "{}", answers[0]);
    }
    let mut sizes = Vec::new();
    for message in [
        db.clone(),
        with_edns(db.clone(), 900),
        with_edns(db.clone(), 4096),
    ] {
        let bytes = over_udp(stage.server, &message.to_vec().unwrap())
            .await
            .unwrap();
        let answer = Message::from_vec(&bytes).unwrap();
        assert!(
            answer.metadata.truncation && answer.answers.len() > 20,
            "{answer}"
        );
        assert_eq!(answer.edns.is_some(), message.edns.is_some());
        sizes.push(bytes.len());
    }
    for (size, limit) in sizes.iter().zip([512, 900, 1232]) {
        // Not one record more would have fitted.
        assert!((limit - 16..=limit).contains(size), "{sizes:?}");
    }
}

#[tokio::test]
async fn one_connection_answers_many_questions_and_ends_on_nonsense() {
    let stage = Stage::ready(&[]).await;
    let questions: Vec<_> = (0..100).map(|_| question(WEB, RecordType::A)).collect();
    let answers = over_tcp(stage.server, &questions).await;
    let ids = |all: &[Message]| {
        let mut ids: Vec<_> = all.iter().map(|one| one.metadata.id).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(ids(&answers), ids(&questions));
    assert!(answers.iter().all(|answer| addresses(answer) == [WEB_IP]));
    let mut stream = TcpStream::connect(stage.server).await.unwrap();
    stream.write_all(&[0xff, 0xff, 1, 2, 3]).await.unwrap();
    let ended = tokio::time::timeout(DEADLINE, stream.read(&mut [0; 16]))
        .await
        .unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
}

#[tokio::test]
async fn what_is_no_question_is_refused_or_ignored() {
    let stage = Stage::ready(&[]).await;
    let good = question(WEB, RecordType::A);
    let with = |change: fn(&mut Message)| {
        let mut message = good.clone();
        change(&mut message);
        message.to_vec().unwrap()
    };
    let mut claims = good.to_vec().unwrap();
    claims[6..12].fill(0xff);
    let cut = good.to_vec().unwrap()[..20].to_vec();
    for (packet, code) in [
        (
            with(|one| one.metadata.op_code = OpCode::Notify),
            ResponseCode::NotImp,
        ),
        (
            with(|one| one.queries.push(one.queries[0].clone())),
            ResponseCode::FormErr,
        ),
        (with(|one| one.queries.clear()), ResponseCode::FormErr),
        (claims, ResponseCode::FormErr),
        (cut, ResponseCode::FormErr),
        (
            with(|one| one.queries[0].query_class = DNSClass::CH),
            ResponseCode::Refused,
        ),
        (
            with(|one| one.queries[0].query_type = RecordType::AXFR),
            ResponseCode::Refused,
        ),
        (
            with(|one| *one = with_edns(one.clone(), 1232)),
            ResponseCode::NoError,
        ),
    ] {
        let answer = over_udp(stage.server, &packet).await.unwrap();
        let answer = Message::from_vec(&answer).unwrap();
        assert_eq!(answer.metadata.response_code, code);
        assert_eq!(answer.metadata.id, good.metadata.id);
    }
    let mut newer = with_edns(good.clone(), 1232);
    newer.edns.as_mut().unwrap().set_version(1);
    let answer = over_udp(stage.server, &newer.to_vec().unwrap())
        .await
        .unwrap();
    let answer = Message::from_vec(&answer).unwrap();
    // TSIG has the same number for something else, and the decoder takes it for that.
    let code = u16::from(answer.metadata.response_code);
    assert_eq!(code, u16::from(ResponseCode::BADVERS));

    // An answer, and too little of anything: had the server replied, its reply would come before the last one's.
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(stage.server).await.unwrap();
    let mut response = good.to_vec().unwrap();
    response[2] |= 0x80;
    socket.send(&response).await.unwrap();
    socket.send(&[1, 2, 3]).await.unwrap();
    let last = question(WEB, RecordType::A);
    socket.send(&last.to_vec().unwrap()).await.unwrap();
    let mut buffer = [0; 512];
    let length = tokio::time::timeout(DEADLINE, socket.recv(&mut buffer))
        .await
        .unwrap()
        .unwrap();
    let answer = Message::from_vec(&buffer[..length]).unwrap();
    assert_eq!(answer.metadata.id, last.metadata.id);
}

async fn until(stage: &Stage, is_right: impl Fn(&Message) -> bool) {
    let start = Instant::now();
    loop {
        let answer = ask(stage.server, WEB, RecordType::A).await;
        if is_right(&answer) {
            return;
        }
        assert!(start.elapsed() < DEADLINE, "{answer}");
    }
}

fn addresses(message: &Message) -> Vec<Ipv4Addr> {
    let answers = message.answers.iter();
    let ips = answers.filter_map(|record| match &record.data {
        RData::A(ip) => Some(ip.0),
        _ => None,
    });
    ips.collect()
}

/// The authority's zone, and how long it may be believed.
fn denial(message: &Message) -> String {
    assert!(message.answers.is_empty(), "{message}");
    match &message.authorities[0].data {
        RData::SOA(soa) => format!("{} {}", message.authorities[0].name, soa.minimum),
        other => panic!("{other}"),
    }
}

fn slice(count: u8) -> Value {
    let endpoints: Vec<_> = (0..count)
        .map(|n| json!({"addresses": [format!("10.42.0.{n}")]}))
        .collect();
    json!({
        "metadata": {"name": "db-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "db"}},
        "addressType": "IPv4",
        "endpoints": endpoints,
    })
}

async fn get(server: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: dns\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

const WEB: &str = "web.shop.svc.cluster.local.";
const WEB_IP: Ipv4Addr = Ipv4Addr::new(10, 43, 0, 7);
const DEADLINE: Duration = Duration::from_secs(10);
