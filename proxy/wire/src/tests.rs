use std::{net::SocketAddr, sync::Arc};

use portcullis_route::spec::*;
use proptest::prelude::*;
use prost::bytes::Bytes;

use crate::{
    Assembler, Delta, Encoder, KNOWN_FEATURE, LoadError, ProtocolError, Publication, Received,
    Unit, UnitKey, UnitKind, UnitSet, diff, load, parts, save,
};

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// A proxy that follows deltas serves what one serves that was sent the whole set, and that is what was asked.
    #[test]
    fn deltas_lead_to_the_same_specs_as_full_sets(sequence in prop::collection::vec(specs(), 1..6)) {
        let mut encoder = Encoder::default();
        let mut follower = Received::new(KNOWN_FEATURE);
        let mut previous: Option<UnitSet> = None;
        for (version, specs) in (1..).zip(sequence) {
            let (set, refused) = encoder.encode(&specs);
            prop_assert!(refused.is_empty());
            let (base, delta) = match &previous {
                None => (None, Delta::full(&set)),
                Some(previous) => (Some(version - 1), diff(previous, &set)),
            };
            let applied = follower.apply(sent(version, base, &delta)).expect("applied");
            prop_assert!(applied.refused.is_empty());
            prop_assert_eq!(follower.specs(), sorted(specs));

            let mut restored = Received::new(KNOWN_FEATURE);
            restored.restore(load(&save(&set)).expect("loaded"));
            prop_assert_eq!(restored.specs(), follower.specs());
            previous = Some(set);
        }
    }
}

#[test]
fn an_unchanged_spec_is_not_encoded_again_and_an_unchanged_unit_keeps_its_spec() {
    let mut encoder = Encoder::default();
    let mut specs = two_hosts();
    let (first, _) = encoder.encode(&specs);
    let mut received = Received::new(KNOWN_FEATURE);
    received
        .apply(sent(1, None, &Delta::full(&first)))
        .expect("applied");
    let before = received.specs();

    specs.hosts[1] = Arc::new(host("b.example.com", Vec::new()));
    let (second, _) = encoder.encode(&specs);
    let delta = diff(&first, &second);
    assert_eq!(delta.put.len(), 1);
    received.apply(sent(2, Some(1), &delta)).expect("applied");
    let after = received.specs();

    assert!(Arc::ptr_eq(&before.hosts[0], &after.hosts[0]));
    assert!(!Arc::ptr_eq(&before.hosts[1], &after.hosts[1]));
}

#[test]
fn a_route_that_needs_an_unknown_feature_is_denied_and_its_neighbours_serve() {
    let mut received = Received::new(0);
    let (set, _) = Encoder::default().encode(&two_hosts());
    // The envelope itself is of feature 1, so a proxy of feature 0 denies everything.
    let applied = received
        .apply(sent(1, None, &Delta::full(&set)))
        .expect("applied");
    assert!(
        received
            .specs()
            .hosts
            .iter()
            .all(|host| is_denied(&host.routes[0]))
    );
    assert!(!applied.refused.is_empty());

    let mut received = Received::new(KNOWN_FEATURE);
    let body = body_of(&set, "ingress/a.example.com");
    let newer = body.replacen("\"required_feature\":1", "\"required_feature\":9", 1);
    let applied = received
        .apply(sent(
            1,
            None,
            &with_body(&set, "ingress/a.example.com", &newer),
        ))
        .expect("applied");
    let specs = received.specs();
    let a = &specs.hosts[0];
    assert_eq!(a.routes.len(), 2);
    let RouteAction::Deny(denial) = &a.routes[0].action else {
        panic!("served: {a:?}");
    };
    assert_eq!(denial.status, 503);
    assert!(denial.reason.contains("feature 9"), "{}", denial.reason);
    assert!(!is_denied(&a.routes[1]));
    assert!(!is_denied(&specs.hosts[1].routes[0]));
    assert_eq!(applied.refused.len(), 1);
    assert_eq!(applied.refused[0].unit, "HostRoutes ingress/a.example.com");
}

#[test]
fn an_action_that_is_not_understood_denies_its_route_and_a_match_its_host() {
    let (set, _) = Encoder::default().encode(&two_hosts());
    let body = body_of(&set, "ingress/a.example.com");

    let mut received = Received::new(KNOWN_FEATURE);
    let unknown_step = body.replacen("{\"Respond\":", "{\"Teleport\":", 1);
    let delta = with_body(&set, "ingress/a.example.com", &unknown_step);
    received.apply(sent(1, None, &delta)).expect("applied");
    let routes = received.specs().hosts[0].routes.clone();
    assert_eq!(
        routes.iter().map(is_denied).collect::<Vec<_>>(),
        [true, false]
    );

    let mut received = Received::new(KNOWN_FEATURE);
    let unknown_match = body.replacen("{\"Exact\":", "{\"Telepathic\":", 1);
    let delta = with_body(&set, "ingress/a.example.com", &unknown_match);
    received.apply(sent(1, None, &delta)).expect("applied");
    let specs = received.specs();
    assert_eq!(specs.hosts[0].routes.len(), 1);
    assert!(is_denied(&specs.hosts[0].routes[0]));
    assert!(!is_denied(&specs.hosts[1].routes[0]));
}

#[test]
fn a_refused_unit_leaves_what_stood_there() {
    let (set, _) = Encoder::default().encode(&two_hosts());
    let mut received = Received::new(KNOWN_FEATURE);
    received
        .apply(sent(1, None, &Delta::full(&set)))
        .expect("applied");
    let before = received.specs();

    let key = UnitKey::new(UnitKind::Backend, "demo/web/80");
    let broken = Delta {
        put: vec![
            Arc::new(Unit::new(key, 1, Bytes::from_static(b"{}"))),
            Arc::new(Unit::new(
                UnitKey::new(UnitKind::Unknown(99), "x"),
                1,
                Bytes::new(),
            )),
        ],
        delete: Vec::new(),
    };
    let applied = received.apply(sent(2, Some(1), &broken)).expect("applied");
    let units: Vec<&str> = applied.refused.iter().map(|r| r.unit.as_str()).collect();
    assert_eq!(units, ["Backend demo/web/80", "Unknown(99) x"]);
    assert_eq!(received.specs(), before);
}

#[test]
fn content_without_its_hash_is_refused() {
    let (set, _) = Encoder::default().encode(&two_hosts());
    let mut publication = sent(1, None, &Delta::full(&set));
    for unit in &mut publication.put {
        unit.hash = [0; 32];
    }
    let mut received = Received::new(KNOWN_FEATURE);
    let applied = received.apply(publication).expect("applied");
    assert_eq!(applied.refused.len(), set.len());
    assert!(received.specs().backends.is_empty());
    assert!(
        received
            .specs()
            .hosts
            .iter()
            .all(|host| is_denied(&host.routes[0]))
    );
}

#[test]
fn a_change_of_something_else_breaks_the_protocol() {
    let (set, _) = Encoder::default().encode(&two_hosts());
    let mut received = Received::new(KNOWN_FEATURE);
    received
        .apply(sent(1, None, &Delta::full(&set)))
        .expect("applied");

    let wrong_base = received.apply(sent(3, Some(2), &Delta::default()));
    assert_eq!(
        wrong_base,
        Err(ProtocolError::WrongBase { base: 2, held: 1 })
    );
    let mut foreign = sent(2, Some(1), &Delta::default());
    foreign.instance = "another".to_owned();
    assert!(matches!(
        received.apply(foreign),
        Err(ProtocolError::WrongInstance { .. })
    ));
    assert_eq!(received.version(), 1);

    let mut assembler = Assembler::default();
    let mut open = parts("one", 1, None, &Delta::default()).remove(0);
    open.last = false;
    assert_eq!(assembler.push(open), Ok(None));
    let next = parts("one", 2, None, &Delta::default()).remove(0);
    assert!(matches!(
        assembler.push(next),
        Err(ProtocolError::MixedParts { .. })
    ));
}

#[test]
fn a_large_publication_comes_in_parts_and_a_large_host_is_denied() {
    let mut specs = two_hosts();
    let big = |n: usize| {
        let text = "x".repeat(n);
        vec![route("a", PathMatch::Exact("/".to_owned()), respond(&text))]
    };
    specs
        .hosts
        .push(Arc::new(host("c.example.com", big(2 << 20))));
    specs
        .hosts
        .push(Arc::new(host("d.example.com", big(2 << 20))));
    specs
        .hosts
        .push(Arc::new(host("e.example.com", big(5 << 20))));
    let (set, refused) = Encoder::default().encode(&specs);
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].unit, "HostRoutes ingress/e.example.com");
    let sent = parts("one", 1, None, &Delta::full(&set));
    assert!(sent.len() > 1);
    assert!(sent.iter().rev().skip(1).all(|part| !part.last));

    let mut assembler = Assembler::default();
    let mut whole = None;
    for part in sent {
        whole = assembler.push(part).expect("fits");
    }
    let mut received = Received::new(KNOWN_FEATURE);
    received.apply(whole.expect("whole")).expect("applied");
    let hosts = received.specs().hosts;
    assert_eq!(hosts.len(), 5);
    assert!(is_denied(&hosts[4].routes[0]));
}

#[test]
fn a_stored_set_that_is_damaged_is_not_taken() {
    let (set, _) = Encoder::default().encode(&two_hosts());
    let file = save(&set);
    assert_eq!(load(&file).as_ref(), Ok(&set));
    assert_eq!(load(&file[..file.len() - 1]), Err(LoadError::Damaged));
    let mut flipped = file.clone();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    assert_eq!(load(&flipped), Err(LoadError::Damaged));
    assert_eq!(load(b"something else"), Err(LoadError::Foreign));
    assert_eq!(load(&[]), Err(LoadError::Foreign));
}

#[test]
fn no_debug_output_holds_a_private_key() {
    let (set, _) = Encoder::default().encode(&two_hosts());
    let publication = sent(1, None, &Delta::full(&set));
    let part = parts("one", 1, None, &Delta::full(&set)).remove(0);
    for text in [
        format!("{set:?}"),
        format!("{publication:?}"),
        format!("{part:?}"),
    ] {
        // The key is the bytes 7, 7, 7, in JSON and as a byte string.
        assert!(!text.contains("7,7,7") && !text.contains("7, 7, 7") && !text.contains("\\u{7}"));
        assert!(text.contains("demo/tls"));
    }
}

/// What arrives after the messages have been encoded and decoded.
fn sent(version: u64, base: Option<u64>, delta: &Delta) -> Publication {
    let mut assembler = Assembler::default();
    let mut whole = None;
    for part in parts("one", version, base, delta) {
        let bytes = prost::Message::encode_to_vec(&part);
        let part = prost::Message::decode(&bytes[..]).expect("a part");
        whole = assembler.push(part).expect("assembled");
    }
    whole.expect("a last part")
}

/// Decoding orders units by name.
fn sorted(mut specs: Specs) -> Specs {
    specs.listeners.sort_by(|a, b| a.name.cmp(&b.name));
    specs.backends.sort_by(|a, b| a.name.cmp(&b.name));
    specs.certificates.sort_by(|a, b| a.name.cmp(&b.name));
    let name = |host: &HostRoutes| match &host.host {
        HostMatch::Any => String::new(),
        other => other.to_string(),
    };
    specs.hosts.sort_by_key(|host| name(host));
    specs
}

fn with_body(set: &UnitSet, name: &str, body: &str) -> Delta {
    let mut delta = Delta::full(set);
    for unit in &mut delta.put {
        if unit.key.name == name {
            assert_ne!(unit.body, body.as_bytes(), "the body was not changed");
            let body = Bytes::from(body.to_owned());
            *unit = Arc::new(Unit::new(unit.key.clone(), unit.required_feature, body));
        }
    }
    delta
}

fn body_of(set: &UnitSet, name: &str) -> String {
    let unit = set.values().find(|unit| unit.key.name == name);
    String::from_utf8(unit.expect("a unit").body.to_vec()).expect("JSON")
}

fn is_denied(route: &RouteSpec) -> bool {
    matches!(route.action, RouteAction::Deny(_))
}

fn two_hosts() -> Specs {
    let routes = vec![
        route("a", PathMatch::Exact("/a".to_owned()), respond("hello")),
        route("b", PathMatch::Prefix("/b".to_owned()), respond("hello")),
    ];
    Specs {
        hosts: vec![
            Arc::new(host("a.example.com", routes.clone())),
            Arc::new(host("b.example.com", routes)),
        ],
        backends: vec![backend("demo/web/80", 1)],
        certificates: vec![certificate()],
        ..Specs::default()
    }
}

fn host(name: &str, routes: Vec<RouteSpec>) -> HostRoutes {
    HostRoutes {
        table: "ingress".to_owned(),
        host: HostMatch::parse(name).expect("a host"),
        routes,
    }
}

fn route(id: &str, path: PathMatch, step: StepSpec) -> RouteSpec {
    RouteSpec {
        id: id.to_owned(),
        labels: RouteLabels::default(),
        matches: RouteMatch {
            path,
            method: None,
            headers: Vec::new(),
            query: Vec::new(),
        },
        rank: 0,
        action: RouteAction::Serve(vec![step]),
    }
}

fn respond(body: &str) -> StepSpec {
    StepSpec::Respond(FixedResponse {
        status: 200,
        content_type: "text/plain".to_owned(),
        body: body.to_owned(),
    })
}

fn backend(name: &str, count: u8) -> Arc<BackendSpec> {
    let endpoint = |n: u8| EndpointSpec {
        address: SocketAddr::from(([10, 0, 0, n], 80)),
        state: EndpointState::Ready,
    };
    Arc::new(BackendSpec {
        name: name.to_owned(),
        protocol: BackendProtocol::Http,
        endpoints: (0..count).map(endpoint).collect(),
    })
}

fn certificate() -> Arc<CertificateSpec> {
    Arc::new(CertificateSpec {
        name: "demo/tls".to_owned(),
        server_names: vec![HostMatch::Any],
        chain: vec![vec![1, 2]],
        key: PrivateKey(vec![7; 9]),
    })
}

fn specs() -> impl Strategy<Value = Specs> {
    let path = prop::sample::select(vec!["/", "/x", "/y"]);
    let routes = prop::collection::vec((path, "[a-z]{0,8}"), 0..4);
    let hosts = prop::collection::btree_map(
        prop::sample::select(vec!["", "*.test", "a.test", "b.test"]),
        routes,
        0..4,
    );
    let backends = prop::collection::btree_map("[a-c]", 0..4u8, 0..3);
    (hosts, backends, any::<bool>(), any::<bool>()).prop_map(|(hosts, backends, tls, log)| {
        let host_of = |(name, routes): (&str, Vec<(&str, String)>)| {
            let routes = routes.into_iter();
            let routes = routes.map(|(path, body)| {
                route(path, PathMatch::Prefix(path.to_owned()), respond(&body))
            });
            Arc::new(host(name, routes.collect()))
        };
        Specs {
            hosts: hosts.into_iter().map(host_of).collect(),
            backends: backends.iter().map(|(name, n)| backend(name, *n)).collect(),
            certificates: tls.then(certificate).into_iter().collect(),
            global: Arc::new(GlobalSpec {
                access_log: log,
                ..GlobalSpec::default()
            }),
            ..Specs::default()
        }
    })
}
