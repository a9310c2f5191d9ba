//! The compiled table against a naive twin that walks every route of a host in a line.

use std::sync::Arc;

use http::{HeaderMap, Method};
use portcullis_route::{
    Head, compile,
    spec::{
        FixedResponse, HostMatch, HostRoutes, ListenerProtocol, ListenerSpec, NameValueMatch,
        PathMatch, RouteAction, RouteLabels, RouteMatch, RouteSpec, Specs, StepSpec, ValueMatch,
    },
};
use proptest::{collection::vec, option, prelude::*, sample::select};

fn listener() -> ListenerSpec {
    ListenerSpec {
        name: "http".into(),
        address: [127, 0, 0, 1].into(),
        port: 80,
        public_port: None,
        protocol: ListenerProtocol::Http,
        table: "main".into(),
        tls_policy: None,
    }
}

/// The same question, answered slowly.
fn naive<'a>(specs: &'a Specs, head: &Head<'_>) -> Option<&'a str> {
    let by_class = |class: fn(&HostMatch, &str) -> bool| {
        specs.hosts.iter().find(move |h| class(&h.host, head.host))
    };
    let exact = by_class(|m, host| matches!(m, HostMatch::Exact(name) if name.as_str() == host));
    let wildcard = by_class(|m, host| match m {
        HostMatch::Wildcard(suffix) => {
            let label = host.strip_suffix(suffix.as_str());
            let label = label.and_then(|label| label.strip_suffix('.'));
            label.is_some_and(|label| !label.is_empty() && !label.contains('.'))
        }
        _ => false,
    });
    let any = by_class(|m, _| *m == HostMatch::Any);
    let host = exact.or(wildcard).or(any)?;
    let matching = host
        .routes
        .iter()
        .enumerate()
        .filter_map(|(position, route)| {
            let (class, length) = path_rank(&route.matches.path, head.path)?;
            let matches = &route.matches;
            conditions(matches, head).then_some((
                class,
                std::cmp::Reverse(length),
                std::cmp::Reverse(matches.method.is_some()),
                std::cmp::Reverse(matches.headers.len()),
                std::cmp::Reverse(matches.query.len()),
                route.rank,
                position,
                route.id.as_str(),
            ))
        });
    matching.min().map(|best| best.7)
}

/// Class (lower is better) and length of the path match.
fn path_rank(spec: &PathMatch, path: &[u8]) -> Option<(u8, usize)> {
    match spec {
        PathMatch::Exact(exact) => (path == exact.as_bytes()).then_some((0, 0)),
        PathMatch::Prefix(prefix) => {
            let bare = prefix.trim_end_matches('/').as_bytes();
            if !bare.is_empty() && path == bare {
                return Some((1, 0));
            }
            let rest = path.strip_prefix(bare)?;
            rest.starts_with(b"/").then_some((3, bare.len() + 1))
        }
        PathMatch::Regex {
            pattern,
            case_insensitive,
        } => {
            let flags = if *case_insensitive { "(?i)" } else { "" };
            let regex = regex::bytes::Regex::new(&format!("{flags}^(?:{pattern})")).ok()?;
            regex.is_match(path).then_some((2, pattern.len()))
        }
        PathMatch::PlainPrefix(prefix) => path
            .starts_with(prefix.as_bytes())
            .then_some((3, prefix.len())),
    }
}

fn conditions(matches: &RouteMatch, head: &Head<'_>) -> bool {
    let passes = |test: &ValueMatch, value: &str| match test {
        ValueMatch::Exact(exact) => exact == value,
        ValueMatch::Regex(pattern) => {
            let regex = regex::Regex::new(&format!("^(?:{pattern})$")).unwrap();
            regex.is_match(value)
        }
    };
    let header = |m: &NameValueMatch| {
        let value = head.headers.get(&m.name).and_then(|v| v.to_str().ok());
        value.is_some_and(|value| passes(&m.value, value))
    };
    let query = |m: &NameValueMatch| {
        let pairs = head.query.unwrap_or("").split('&');
        let mut pairs = pairs.filter_map(|pair| pair.split_once('='));
        let value = pairs.find(|(name, _)| *name == m.name);
        value.is_some_and(|(_, value)| passes(&m.value, value))
    };
    matches
        .method
        .as_ref()
        .is_none_or(|m| m == head.method.as_str())
        && matches.headers.iter().all(header)
        && matches.query.iter().all(query)
}

fn any_path() -> impl Strategy<Value = String> {
    select(vec![
        "/", "/a", "/a/", "/a/b", "/ab", "/a/b/c", "/abc", "/b", "/A", "/a/bc", "/a.b",
    ])
    .prop_map(str::to_owned)
}

fn any_match() -> impl Strategy<Value = PathMatch> {
    prop_oneof![
        any_path().prop_map(PathMatch::Exact),
        any_path().prop_map(PathMatch::Prefix),
        any_path().prop_map(PathMatch::PlainPrefix),
        (
            select(vec!["/a", "/a/[a-z]+", "/(a|b)", "/a.*c", "/"]),
            any::<bool>()
        )
            .prop_map(|(pattern, case_insensitive)| PathMatch::Regex {
                pattern: pattern.into(),
                case_insensitive,
            }),
    ]
}

fn any_test() -> impl Strategy<Value = NameValueMatch> {
    let value = prop_oneof![
        select(vec!["1", "2"]).prop_map(|v| ValueMatch::Exact(v.into())),
        Just(ValueMatch::Regex("1|3".into())),
    ];
    (select(vec!["x", "y"]), value).prop_map(|(name, value)| NameValueMatch {
        name: name.into(),
        value,
    })
}

fn any_route() -> impl Strategy<Value = RouteSpec> {
    let method = option::weighted(0.3, select(vec!["GET", "POST"]));
    let tests = || prop_oneof![3 => Just(vec![]), 1 => vec(any_test(), 1..3)];
    (any_match(), method, tests(), tests(), 0u32..3).prop_map(
        |(path, method, headers, query, rank)| RouteSpec {
            id: String::new(),
            labels: RouteLabels::default(),
            matches: RouteMatch {
                path,
                method: method.map(str::to_owned),
                headers,
                query,
            },
            rank,
            action: RouteAction::Serve(vec![StepSpec::Respond(FixedResponse {
                status: 200,
                content_type: String::new(),
                body: String::new(),
            })]),
        },
    )
}

fn any_specs() -> impl Strategy<Value = Specs> {
    let hosts = ["a.example", "b.a.example", "*.a.example", "*.example", ""];
    vec(vec(any_route(), 0..8), hosts.len()).prop_map(move |routes| {
        let hosts = hosts
            .iter()
            .zip(routes)
            .enumerate()
            .map(|(n, (host, mut routes))| {
                for (index, route) in routes.iter_mut().enumerate() {
                    route.id = format!("{n}.{index}");
                }
                Arc::new(HostRoutes {
                    table: "main".into(),
                    host: HostMatch::parse(host).unwrap(),
                    routes,
                })
            });
        Specs {
            listeners: vec![Arc::new(listener())],
            // A host without routes is sometimes absent.
            hosts: hosts.filter(|h| !h.routes.is_empty()).collect(),
            ..Specs::default()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn finds_what_a_walk_would_find(
        specs in any_specs(),
        host in select(vec!["a.example", "b.a.example", "c.a.example", "c.b.a.example", "example", "other"]),
        path in any_path(),
        method in select(vec![Method::GET, Method::POST, Method::PUT]),
        header in option::of(select(vec!["1", "2", "3"])),
        query in option::of(select(vec!["x=1", "y=2&x=3", "x=2&x=1", ""])),
    ) {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert("x", value.parse().unwrap());
        }
        let head = Head {
            host,
            path: path.as_bytes(),
            query,
            method: &method,
            headers: &headers,
        };
        let table = compile(None, &specs);
        let found = table.find(0, &head).map(|found| found.route.id.as_str());
        prop_assert_eq!(found, naive(&specs, &head));
        let explanation = table.explain(0, &head);
        prop_assert_eq!(explanation.chosen.as_deref(), found);
    }
}
