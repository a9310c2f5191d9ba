use serde_json::{Value, json};

use super::*;
use crate::kind;

fn web() -> Value {
    json!({
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"app": "web", "tier": "front", "n": "7"}},
        "spec": {"nodeName": "a"},
        "status": {"phase": "Running"},
    })
}

#[test]
fn labels_select_as_kubectl_writes_them() {
    let cases = [
        ("", true),
        ("app=web", true),
        ("app==web,tier!=back", true),
        ("app in (api, web),!legacy", true),
        ("tier notin (front)", false),
        ("missing notin (x)", true),
        ("missing!=x", true),
        ("missing", false),
        ("app", true),
        ("n>6,n<8", true),
        ("n>7", false),
        ("in=x", false),
        ("example.com/app=web", false),
    ];
    for (text, expected) in cases {
        let selector = LabelSelector::parse(text).expect(text);
        assert_eq!(selector.matches(&web()), expected, "{text}");
    }
    for text in [
        "app=web,",
        "=x",
        "app in ()x",
        "app in (a",
        "app=a=b",
        "n>x",
        "a b",
    ] {
        assert!(LabelSelector::parse(text).is_err(), "{text}");
    }
}

#[test]
fn fields_select_only_what_the_kind_offers() {
    let pods = kind::by_resource("", "v1", "pods").expect("is served");
    let cases = [
        ("spec.nodeName=a", true),
        ("spec.nodeName!=a", false),
        ("metadata.name=web-1,status.phase==Running", true),
        ("spec.hostNetwork=false", true),
        ("status.nominatedNodeName=", true),
    ];
    for (text, expected) in cases {
        let selector = FieldSelector::parse(text, pods).expect(text);
        assert_eq!(selector.matches(&web()), expected, "{text}");
    }
    let error = FieldSelector::parse("spec.foo=1", pods).expect_err("is not offered");
    assert_eq!(error.to_string(), "field label not supported: spec.foo");
    assert!(FieldSelector::parse("nonsense", pods).is_err());
}

#[test]
fn events_select_by_their_source() {
    let events = kind::by_resource("", "v1", "events").expect("is served");
    let event = json!({"reportingComponent": "kubelet", "involvedObject": {"name": "a"}});
    let selector =
        FieldSelector::parse("source=kubelet,involvedObject.name=a", events).expect("parses");
    assert!(selector.matches(&event));
}
