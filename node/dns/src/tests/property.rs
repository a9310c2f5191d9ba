//! However the objects came to be what they are, the zone says what its naive twin says of them.

use super::naive::{Names, Said};
use crate::source::{EndpointSource, Port, ServiceSource, SliceSource, Source};
use crate::*;
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

#[derive(Debug, Clone)]
enum Step {
    Put(Object),
    Delete(ObjectRef),
    /// All of a kind, without those whose turn it is to be missed.
    Relist(ObjectKind, usize),
}

proptest! {
    #[test]
    fn the_zone_says_what_its_twin_says(steps in vec(step(), 0..40)) {
        let mut index = Index::new(zone());
        let mut model: BTreeMap<ObjectRef, Object> = BTreeMap::new();
        for namespace in NAMESPACES {
            let object = namespace_object(namespace);
            model.insert(object.key.clone(), object.clone());
            index.apply(Change::Put(object), 0);
        }
        for (serial, step) in (1..).zip(steps) {
            index.apply(change(step, &mut model), serial);
        }
        let objects: Vec<Object> = model.into_values().collect();
        let twin = Names::of(DOMAIN, ranges(), &objects);
        let zone = index.zone();
        let names: BTreeSet<String> = twin.names().cloned().chain(others()).collect();
        for name in names {
            for kind in KINDS {
                let answer = zone.answer(&question(&name, kind, 0));
                prop_assert_eq!(Said::from(answer), twin.say(&name, kind), "{:?} {}", kind, name);
            }
        }
        let fresh = objects.into_iter().fold(Index::new(zone_like(zone)), |mut index, object| {
            index.apply(Change::Put(object), 0);
            index
        });
        prop_assert_eq!(fresh.zone().services(), zone.services());
    }

    #[test]
    fn any_question_has_an_answer_and_case_and_dot_do_not_matter(
        name in "[a-zA-Z0-9._\\\\-]{0,40}", ours in any::<bool>(), rotation in any::<usize>()
    ) {
        let zone = Zone::new("Cluster.Local.", ranges());
        let name = if ours { format!("{name}.cluster.local") } else { name };
        for kind in KINDS {
            let answer = zone.answer(&question(&name, kind, rotation));
            prop_assert_eq!(&answer, &zone.answer(&question(&name.to_uppercase(), kind, rotation)));
            if !name.ends_with('.') {
                let absolute = format!("{name}.");
                prop_assert_eq!(&answer, &zone.answer(&question(&absolute, kind, rotation)));
            }
        }
    }

    #[test]
    fn a_rotation_moves_the_first_address_and_loses_none(
        ips in btree_set(1u8..40, 1..20), rotation in any::<usize>(), most in 1usize..25
    ) {
        let endpoints = ips.iter().map(|n| endpoint(None, IpAddr::from([10, 42, 0, *n]), true));
        let mut index = Index::new(zone());
        let slice = SliceSource { service: Some("s".into()), endpoints: endpoints.collect(), ports: BTreeSet::new() };
        let service = ServiceSource::Headless { unready_too: false };
        index.apply(Change::Put(object(ObjectKind::Service, "a", "s", Source::Service(service))), 1);
        index.apply(Change::Put(object(ObjectKind::EndpointSlice, "a", "x", Source::Slice(slice))), 2);
        let ask = |rotation, most_records| {
            let question = Question { name: "s.a.svc.cluster.local", kind: Kind::A, rotation, most_records };
            match index.zone().answer(&question) {
                Answer::Found { data, .. } => data,
                other => panic!("{other:?}"),
            }
        };
        let (all, some) = (ask(0, usize::MAX), ask(rotation, most));
        prop_assert_eq!(some.len(), most.min(all.len()));
        prop_assert_eq!(&some[0], &all[rotation % all.len()]);
        prop_assert_eq!(some.iter().collect::<BTreeSet<_>>().len(), some.len());
    }
}

fn change(step: Step, model: &mut BTreeMap<ObjectRef, Object>) -> Change {
    match step {
        Step::Put(object) => {
            model.insert(object.key.clone(), object.clone());
            Change::Put(object)
        }
        Step::Delete(key) => {
            model.remove(&key);
            Change::Delete(key)
        }
        Step::Relist(kind, missed) => {
            let keys: Vec<_> = model
                .keys()
                .filter(|key| key.kind == kind)
                .cloned()
                .collect();
            let gone = keys.iter().enumerate().filter(|(at, _)| at % 3 == missed);
            gone.for_each(|(_, key)| drop(model.remove(key)));
            let objects = model.values().filter(|object| object.key.kind == kind);
            Change::Relist {
                kind,
                objects: objects.cloned().collect(),
            }
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let kinds = select(vec![
        ObjectKind::Service,
        ObjectKind::EndpointSlice,
        ObjectKind::Pod,
    ]);
    prop_oneof![
        8 => any_object().prop_map(Step::Put),
        2 => any_object().prop_map(|object| Step::Delete(object.key)),
        1 => (kinds, 0usize..3).prop_map(|(kind, missed)| Step::Relist(kind, missed)),
    ]
}

fn any_object() -> impl Strategy<Value = Object> {
    let place = (select(&NAMESPACES[..]), select(vec!["s", "t", "u"]));
    let source = prop_oneof![
        any_service().prop_map(|source| (ObjectKind::Service, Source::Service(source))),
        any_slice().prop_map(|source| (ObjectKind::EndpointSlice, Source::Slice(source))),
        btree_set(any_ip(), 0..3).prop_map(|ips| (ObjectKind::Pod, Source::Pod(ips))),
    ];
    let spare = Just(namespace_object("spare"));
    prop_oneof![
        15 => (place, source).prop_map(|((namespace, name), (kind, source))| object(kind, namespace, name, source)),
        1 => spare,
    ]
}

fn any_service() -> impl Strategy<Value = ServiceSource> {
    let addressed = (btree_set(any_ip(), 1..3), any_ports(), any::<bool>());
    prop_oneof![
        Just(ServiceSource::Alias("example.com".into())),
        any::<bool>().prop_map(|unready_too| ServiceSource::Headless { unready_too }),
        addressed.prop_map(|(ips, ports, unready_too)| ServiceSource::Addressed {
            ips,
            ports,
            unready_too
        }),
    ]
}

fn any_slice() -> impl Strategy<Value = SliceSource> {
    let hostname = proptest::option::of(select(vec!["db-0", "db-1"]));
    let endpoints = (hostname, any_ip(), any::<bool>());
    let endpoints = endpoints.prop_map(|(hostname, ip, ready)| endpoint(hostname, ip, ready));
    let service = proptest::option::of(select(vec!["s", "t"]));
    (service, vec(endpoints, 0..4), any_ports()).prop_map(|(service, endpoints, ports)| {
        SliceSource {
            service: service.map(str::to_owned),
            endpoints,
            ports,
        }
    })
}

fn any_ports() -> impl Strategy<Value = BTreeSet<Port>> {
    let port = (
        select(vec!["", "http", "dns"]),
        select(vec!["tcp", "udp"]),
        select(vec![53u16, 80]),
    );
    let port = port.prop_map(|(name, protocol, number)| Port {
        name: name.into(),
        protocol: protocol.into(),
        number,
    });
    btree_set(port, 0..3)
}

fn any_ip() -> impl Strategy<Value = IpAddr> {
    select(vec![
        "10.43.0.1",
        "10.42.0.2",
        "192.0.2.3",
        "fd42::2",
        "fd42::",
    ])
    .prop_map(|ip| ip.parse().unwrap())
}

fn endpoint(hostname: Option<&str>, ip: IpAddr, is_ready: bool) -> EndpointSource {
    EndpointSource {
        label: hostname.map_or_else(|| crate::name::address_label(ip), str::to_owned),
        ip,
        is_ready,
    }
}

fn namespace_object(name: &str) -> Object {
    object(ObjectKind::Namespace, "", name, Source::Namespace)
}

fn object(kind: ObjectKind, namespace: &str, name: &str, source: Source) -> Object {
    let key = ObjectRef {
        kind,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    Object { key, source }
}

fn question(name: &str, kind: Kind, rotation: usize) -> Question<'_> {
    Question {
        name,
        kind,
        rotation,
        most_records: usize::MAX,
    }
}

fn zone() -> Zone {
    Zone::new(DOMAIN, ranges())
}

fn zone_like(zone: &Zone) -> Zone {
    Zone::new(zone.domain(), ranges())
}

fn ranges() -> Vec<Range> {
    ["10.43.0.0/16", "10.42.0.0/20", "fd42::/62"]
        .map(|range| range.parse().unwrap())
        .into()
}

/// Names that are not there, or not ours.
fn others() -> impl Iterator<Item = String> {
    let below = [
        "x.svc",
        "x.a.svc",
        "y.x.a.svc",
        "x.s.a.svc",
        "_x._tcp.s.a.svc",
        "_tcp.s.a.svc",
        "_sctp.s.a.svc",
        "x._http._tcp.s.a.svc",
        "http.tcp.s.a.svc",
        "spare.svc",
        "10-42-0-9.a.pod",
        "x.10-42-0-2.a.pod",
        "x",
        "x.dns",
    ];
    let reverse = [
        "1.0.43.10",
        "9.0.43.10",
        "43.10",
        "10",
        "0.43.10",
        "1.16.42.10",
        "9.15.42.10",
        "3.2.0.192",
        "x.0.43.10",
    ];
    let outside = ["example.com", "notcluster.local", "local", ""].map(str::to_owned);
    let below = below.into_iter().map(|front| format!("{front}.{DOMAIN}"));
    let reverse = reverse
        .into_iter()
        .map(|front| format!("{front}.in-addr.arpa"));
    below.chain(reverse).chain(outside)
}

const DOMAIN: &str = "cluster.local";
/// Always there, as in a cluster.
const NAMESPACES: [&str; 2] = ["a", "b"];
const KINDS: [Kind; 7] = [
    Kind::A,
    Kind::Aaaa,
    Kind::Srv,
    Kind::Ptr,
    Kind::Txt,
    Kind::Cname,
    Kind::Other,
];
