use super::*;
use crate::kind;

fn parse(method: &str, path: &str, query: &str) -> RequestInfo {
    RequestInfo::parse(method, path, &Query::parse(query)).expect("parses")
}

fn resource(method: &str, path: &str, query: &str) -> (Verb, [String; 5]) {
    match parse(method, path, query) {
        RequestInfo {
            verb,
            target: Target::Resource(r),
        } => (
            verb,
            [r.group, r.namespace, r.resource, r.name, r.subresource],
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn paths_and_methods_become_verbs_and_parts() {
    for (method, path, query, verb, parts) in PATHS {
        assert_eq!(
            resource(method, path, query),
            (*verb, parts.map(str::to_owned)),
            "{method} {path}"
        );
    }
}

#[test]
fn what_is_no_resource_stays_a_path() {
    for path in [
        "/",
        "/healthz",
        "/api",
        "/api/v1",
        "/apis",
        "/apis/apps",
        "/apis/apps/v1",
        "/version",
    ] {
        assert_eq!(parse("GET", path, "").target, Target::Path(path.to_owned()));
    }
}

#[test]
fn segments_cannot_climb() {
    for path in [
        "/api/v1/namespaces/..%2Fx/pods",
        "/api/v1/namespaces/../pods",
        "/api/v1/pods/%zz",
    ] {
        assert!(
            RequestInfo::parse("GET", path, &Query::default()).is_err(),
            "{path}"
        );
    }
}

#[test]
fn page_tokens_round_trip_and_refuse_climbing() {
    let token = PageToken {
        resource_version: Some(7),
        start: "ns/a\0".into(),
    };
    assert_eq!(PageToken::parse(&token.encode()), Ok(token));
    let climbing = PageToken {
        resource_version: None,
        start: "../secrets".into(),
    };
    assert!(PageToken::parse(&climbing.encode()).is_err());
    assert!(PageToken::parse("nonsense").is_err());
}

#[test]
fn list_options_that_contradict_are_refused_by_field() {
    let pods = kind::by_resource("", "v1", "pods").expect("is served");
    for query in [
        "resourceVersionMatch=Exact",
        "resourceVersionMatch=Exact&resourceVersion=0",
        "resourceVersionMatch=Never&resourceVersion=3",
        "sendInitialEvents=true",
    ] {
        let error = ListOptions::parse(&Query::parse(query), pods).expect_err(query);
        assert_eq!(error.code(), 422, "{query}");
    }
    let watch =
        WatchOptions::parse(&Query::parse("sendInitialEvents=true"), pods).expect_err("no match");
    assert_eq!(watch.code(), 422);
}

#[test]
fn watch_lists_ask_for_a_closing_bookmark() {
    let pods = kind::by_resource("", "v1", "pods").expect("is served");
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let options = WatchOptions::parse(&Query::parse(query), pods).expect("parses");
    assert!(options.initial_events && options.initial_events_end);
    let quiet = "sendInitialEvents=false&resourceVersionMatch=NotOlderThan";
    let options = WatchOptions::parse(&Query::parse(quiet), pods).expect("parses");
    assert!(!options.initial_events);
}

/// Method, path, query; verb, then group, namespace, resource, name, subresource.
const PATHS: &[(&str, &str, &str, Verb, [&str; 5])] = &[
    (
        "GET",
        "/api/v1/pods",
        "",
        Verb::List,
        ["", "", "pods", "", ""],
    ),
    (
        "GET",
        "/api/v1/pods",
        "watch=1",
        Verb::Watch,
        ["", "", "pods", "", ""],
    ),
    (
        "GET",
        "/api/v1/pods",
        "watch=true&fieldSelector=metadata.name%3Dx",
        Verb::Watch,
        ["", "", "pods", "x", ""],
    ),
    (
        "GET",
        "/api/v1/namespaces/ns",
        "",
        Verb::Get,
        ["", "ns", "namespaces", "ns", ""],
    ),
    (
        "PUT",
        "/api/v1/namespaces/ns/finalize",
        "",
        Verb::Update,
        ["", "ns", "namespaces", "ns", "finalize"],
    ),
    (
        "POST",
        "/api/v1/namespaces/ns/pods",
        "",
        Verb::Create,
        ["", "ns", "pods", "", ""],
    ),
    (
        "PATCH",
        "/apis/apps/v1/namespaces/ns/deployments/web/scale",
        "",
        Verb::Patch,
        ["apps", "ns", "deployments", "web", "scale"],
    ),
    (
        "DELETE",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
        "",
        Verb::Delete,
        [
            "rbac.authorization.k8s.io",
            "",
            "clusterroles",
            "system:node",
            "",
        ],
    ),
    (
        "DELETE",
        "/apis/apps/v1/namespaces/ns/deployments",
        "",
        Verb::DeleteCollection,
        ["apps", "ns", "deployments", "", ""],
    ),
];
