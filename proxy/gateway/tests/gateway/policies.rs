//! Steps of a route: redirects, limits, fixed answers, affinity.

use std::{collections::HashSet, sync::Arc};

use portcullis_gateway::{
    Config, Limits,
    spec::{
        CookieAffinity, Denial, FixedResponse, HostMatch, HostRoutes, LimitKey, RateLimit,
        RedirectToHttps, RouteAction, StepSpec,
    },
};

use crate::stage::{Client, Origin, Stage, get, ok, route};

fn respond(body: &str) -> StepSpec {
    StepSpec::Respond(FixedResponse {
        status: 200,
        content_type: "text/plain".into(),
        body: body.into(),
    })
}

fn limit(name: &str, burst: u32) -> StepSpec {
    StepSpec::LimitRate(RateLimit {
        name: name.into(),
        key: LimitKey::ClientIp,
        requests: 1,
        interval_seconds: 60,
        burst,
        status: 503,
        exempt: vec![],
    })
}

#[tokio::test]
async fn plain_requests_are_redirected_as_ingress_nginx_does() {
    let mut stage = Stage::start(Default::default());
    let redirect = |port| {
        StepSpec::RedirectToHttps(RedirectToHttps {
            status: 308,
            port,
            keep_trailing_slash: false,
            except_prefixes: vec!["/.well-known/acme-challenge".into()],
        })
    };
    stage.route("a", vec![respond("served"), redirect(443)]);
    stage.route("b", vec![redirect(8443), respond("served")]);
    stage.apply();
    let http = stage.http();
    let reply = get(http, "a:80", "/x/?y=z").await;
    assert_eq!(reply.status, 308);
    assert_eq!(reply.header("location"), Some("https://a/x/?y=z"));
    assert_eq!(reply.header("strict-transport-security"), None);
    let reply = get(http, "a", "/x/").await;
    assert_eq!(reply.header("location"), Some("https://a/x"));
    let reply = get(http, "b", "/").await;
    assert_eq!(reply.header("location"), Some("https://b:8443"));
    let reply = get(http, "a", "/.well-known/acme-challenge/t").await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "served"));
}

#[tokio::test]
async fn limits_survive_a_swap_and_are_shared_by_all_cores() {
    let mut stage = Stage::start(Default::default());
    stage.route("a", vec![respond("a"), limit("l", 4)]);
    stage.apply();
    let mut statuses = vec![];
    for _ in 0..4 {
        statuses.push(get(stage.http(), "a", "/").await.status);
    }
    // Another host, another body of this one: neither touches the buckets.
    stage.route("b", vec![respond("b")]);
    stage.route("a", vec![respond("new"), limit("l", 4)]);
    stage.apply();
    for _ in 0..4 {
        statuses.push(get(stage.http(), "a", "/").await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 200, 200, 503, 503, 503]);
    // Other parameters are another limit.
    stage.route("a", vec![respond("new"), limit("l", 1)]);
    stage.apply();
    assert_eq!(get(stage.http(), "a", "/").await.status, 200);
}

#[tokio::test]
async fn a_denied_route_answers_503_and_its_neighbour_serves() {
    let mut stage = Stage::start(Default::default());
    let mut denied = route("denied", "/denied", vec![]);
    denied.action = RouteAction::Deny(Denial {
        status: 503,
        reason: "secret ns/s is missing".into(),
    });
    stage.specs.hosts.push(Arc::new(HostRoutes {
        table: "main".into(),
        host: HostMatch::Any,
        routes: vec![denied, route("open", "/", vec![respond("open")])],
    }));
    stage.apply();
    assert_eq!(get(stage.http(), "x", "/denied/y").await.status, 503);
    assert_eq!(get(stage.http(), "x", "/").await.body, "open");
}

fn affinity(persistent: bool) -> CookieAffinity {
    CookieAffinity {
        name: "INGRESSCOOKIE".into(),
        path: "/".into(),
        domain: None,
        max_age_seconds: None,
        expires_seconds: None,
        secure: None,
        same_site: None,
        change_on_failure: false,
        persistent,
    }
}

#[tokio::test]
async fn a_cookie_keeps_its_client_on_one_endpoint() {
    let mut origins = vec![];
    for name in ["a", "b", "c", "d"] {
        origins.push(Origin::named(name).await);
    }
    let addresses: Vec<_> = origins.iter().map(|o| o.address).collect();
    for persistent in [false, true] {
        let mut stages = vec![];
        for _ in 0..2 {
            let mut stage = Stage::start(Default::default());
            stage.forward_with("a", &addresses, |f| f.affinity = Some(affinity(persistent)));
            stage.apply();
            stages.push(stage);
        }
        let mut homes = HashSet::new();
        for _ in 0..20 {
            let first = get(stages[0].http(), "a", "/").await;
            let cookie = first.header("set-cookie").expect("a cookie").to_owned();
            assert!(cookie.ends_with("; Path=/; HttpOnly"), "{cookie}");
            let pair = cookie.split(';').next().unwrap();
            // The other gateway is another replica: it agrees without having seen the client.
            for stage in &stages {
                let mut client = Client::connect(stage.http()).await;
                let request = format!("GET / HTTP/1.1\r\nhost: a\r\ncookie: x=y; {pair}\r\n\r\n");
                let again = client.send(&request).await;
                assert_eq!(again.body, first.body);
                assert_eq!(again.header("set-cookie"), None);
            }
            homes.insert(first.body);
        }
        assert!(homes.len() > 1, "all clients on {homes:?}");
    }
}

#[tokio::test]
async fn requests_take_turns() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let mut stage = Stage::start(Default::default());
    stage.forward("a", &[a.address, b.address]);
    stage.apply();
    let mut client = Client::connect(stage.http()).await;
    let mut bodies = String::new();
    for _ in 0..6 {
        bodies += &client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.body;
    }
    assert!(bodies == "ababab" || bodies == "bababa", "{bodies}");
}

#[tokio::test]
async fn a_dead_endpoint_is_skipped() {
    let origin = Origin::answering(|_| ok("alive")).await;
    let mut stage = Stage::start(Default::default());
    let dead = "127.0.0.1:1".parse().unwrap();
    stage.forward("a", &[dead, origin.address]);
    stage.apply();
    for _ in 0..4 {
        assert_eq!(get(stage.http(), "a", "/").await.body, "alive");
    }
    let mut client = Client::connect(stage.http()).await;
    let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi";
    for _ in 0..4 {
        assert_eq!(
            client.send(post).await.body,
            "alive",
            "nothing was sent yet"
        );
    }
}

fn one_upstream_each() -> Config {
    Config {
        admin: Some("127.0.0.1:0".parse().unwrap()),
        limits: Limits {
            upstream_connections: Some(1),
            ..Limits::default()
        },
        ..Config::default()
    }
}

#[tokio::test]
async fn more_upstream_connections_than_there_may_be_get_503() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut stage = Stage::start(one_upstream_each());
    stage.forward("a", &[silent.local_addr().unwrap()]);
    stage.apply();
    let mut refused = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let http = stage.http();
        refused.spawn(async move { get(http, "a", "/").await.status });
    }
    // One may wait for its answer on each of the two workers.
    for _ in 0..4 {
        assert_eq!(refused.join_next().await.unwrap().unwrap(), 503);
    }
    let admin = stage.gateway.admin_address().unwrap();
    let metrics = get(admin, "x", "/metrics").await.body;
    let count = metrics
        .lines()
        .find_map(|line| line.strip_prefix("portcullis_upstream_connections_refused_total "));
    assert!(count.unwrap().parse::<u64>().unwrap() >= 4);
}

#[tokio::test]
async fn an_idle_upstream_connection_makes_room_for_another() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let mut stage = Stage::start(one_upstream_each());
    stage.forward("a", &[a.address]);
    stage.forward("b", &[b.address]);
    stage.apply();
    let mut client = Client::connect(stage.http()).await;
    for _ in 0..5 {
        for host in ["a", "b"] {
            let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");
            assert_eq!(client.send(&request).await.body, host);
        }
    }
}
