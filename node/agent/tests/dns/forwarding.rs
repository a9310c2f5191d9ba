//! Names of others.

use crate::client::{ask, over_tcp, question};
use crate::resolver::{Resolver, relay};
use crate::{Stage, external};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

#[tokio::test]
async fn others_are_asked_once_per_name_while_their_answers_last() {
    let resolver = Resolver::start().await;
    let stage = Stage::ready(&[resolver.address]).await;
    for name in ["www.example.com.", "WWW.Example.com."] {
        let answer = ask(stage.server, name, RecordType::A).await;
        assert_eq!(answer.answers[0].data.to_string(), "192.0.2.7");
        assert!(answer.answers[0].name.eq_case(answer.queries[0].name()));
        assert!(!answer.metadata.authoritative);
        assert!((290..=300).contains(&answer.answers[0].ttl));
    }
    assert_eq!(resolver.udp_questions(), 1);
    for _ in 0..2 {
        let answer = ask(stage.server, "nobody.example.com.", RecordType::A).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(answer.authorities.len(), 1);
    }
    assert_eq!(resolver.udp_questions(), 2, "a denial is remembered too");
    ask(stage.server, "www.example.com.", RecordType::AAAA).await;
    assert_eq!(
        resolver.udp_questions(),
        3,
        "another kind is another question"
    );
    let outside = ask(stage.server, "1.2.0.192.in-addr.arpa.", RecordType::PTR).await;
    assert_eq!(outside.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(resolver.udp_questions(), 4);
    let inside = ask(stage.server, "1.2.43.10.in-addr.arpa.", RecordType::PTR).await;
    assert_eq!(inside.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(resolver.udp_questions(), 4, "ours are asked of nobody");
}

#[tokio::test]
async fn an_external_name_is_followed_wherever_it_leads() {
    let resolver = Resolver::start().await;
    let stage = Stage::ready(&[resolver.address]).await;
    for (name, target) in [
        ("out", "alias.example.com"),
        ("in", "web.shop.svc.cluster.local"),
        ("gone", "nobody.example.com"),
        ("self", "self.shop.svc.cluster.local"),
    ] {
        stage.api.put("services", external(name, target));
    }
    let named = |name: &str| format!("{name}.shop.svc.cluster.local.");
    let start = Instant::now();
    // They come in the order in which they were put.
    while ask(stage.server, &named("self"), RecordType::CNAME)
        .await
        .answers
        .is_empty()
    {
        assert!(start.elapsed() < Duration::from_secs(10));
    }
    let out = ask(stage.server, &named("out"), RecordType::A).await;
    let said: Vec<_> = out
        .answers
        .iter()
        .map(|record| record.data.to_string())
        .collect();
    assert_eq!(
        said,
        ["alias.example.com.", "www.example.com.", "192.0.2.7"]
    );
    let within = ask(stage.server, &named("in"), RecordType::A).await;
    let said: Vec<_> = within
        .answers
        .iter()
        .map(|record| record.data.to_string())
        .collect();
    assert_eq!(said, ["web.shop.svc.cluster.local.", "10.43.0.7"]);
    let gone = ask(stage.server, &named("gone"), RecordType::A).await;
    assert_eq!(gone.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!((gone.answers.len(), gone.authorities.len()), (1, 1));
    let circle = ask(stage.server, &named("self"), RecordType::A).await;
    assert_eq!(circle.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn what_does_not_fit_a_datagram_is_fetched_over_tcp() {
    let resolver = Resolver::start().await;
    let stage = Stage::ready(&[resolver.address]).await;
    let large = question("large.example.com.", RecordType::A);
    let answers = over_tcp(stage.server, &[large]).await;
    assert_eq!(answers[0].answers.len(), 100);
    assert_eq!((resolver.udp_questions(), resolver.tcp_questions()), (1, 1));
    let cut = ask(stage.server, "large.example.com.", RecordType::A).await;
    assert!(cut.metadata.truncation && !cut.answers.is_empty(), "{cut}");
    assert_eq!(resolver.udp_questions(), 1, "kept whole");
}

#[tokio::test]
async fn the_next_resolver_is_asked_when_one_is_dead_and_nobody_left_is_a_failure() {
    let resolver = Resolver::start().await;
    let dead = dead().await;
    let stage = Stage::ready(&[dead, resolver.address]).await;
    let answer = ask(stage.server, "www.example.com.", RecordType::A).await;
    assert_eq!(answer.answers.len(), 1, "{answer}");
    let broken = ask(stage.server, "broken.example.com.", RecordType::A).await;
    assert_eq!(broken.metadata.response_code, ResponseCode::ServFail);

    let alone = Stage::ready(&[dead]).await;
    let answer = ask(alone.server, "www.example.com.", RecordType::A).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    let nobody = Stage::ready(&[]).await;
    let answer = ask(nobody.server, "www.example.com.", RecordType::A).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    let ours = ask(nobody.server, "web.shop.svc.cluster.local.", RecordType::A).await;
    assert_eq!(ours.answers.len(), 1, "the cluster's names need nobody");
}

#[tokio::test]
async fn a_resolver_that_asks_us_costs_one_question_and_not_a_storm() {
    let (relay, target, passed) = relay().await;
    let stage = Stage::ready(&[relay]).await;
    target.send_replace(Some(stage.server));
    let start = Instant::now();
    let answer = ask(stage.server, "www.example.com.", RecordType::A).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    assert!(
        passed.load(SeqCst) <= 3,
        "{} times around",
        passed.load(SeqCst)
    );
}

#[tokio::test]
async fn whoever_wants_no_recursion_gets_none() {
    let resolver = Resolver::start().await;
    let stage = Stage::ready(&[resolver.address]).await;
    let mut message = question("www.example.com.", RecordType::A);
    message.metadata.recursion_desired = false;
    let answers = over_tcp(stage.server, &[message]).await;
    assert_eq!(answers[0].metadata.response_code, ResponseCode::Refused);
    assert_eq!(resolver.udp_questions(), 0);
}

/// An address where nobody listens.
async fn dead() -> SocketAddr {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.local_addr().unwrap()
}
