use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{PatchKind, apply};
use crate::kind::{self, KindSpec};

fn deployments() -> &'static KindSpec {
    kind::by_resource("apps", "v1", "deployments").expect("served")
}

fn strategic(current: Value, patch: Value) -> Value {
    apply(deployments(), PatchKind::Strategic, &current, &patch).unwrap()
}

/// A pod spec inside a Deployment, so that cases stay short.
fn pod(spec: Value) -> Value {
    json!({"spec": {"template": {"spec": spec}}})
}

#[test]
fn lists_merge_by_their_key_and_new_items_come_first() {
    let current = pod(
        json!({"containers": [{"name": "a", "image": "1", "ports": [{"containerPort": 80, "name": "x"}]}]}),
    );
    let patch = pod(
        json!({"containers": [{"name": "b"}, {"name": "a", "image": "2",
        "ports": [{"containerPort": 80, "protocol": "UDP"}, {"containerPort": 81}]}]}),
    );
    assert_eq!(
        strategic(current, patch),
        pod(
            json!({"containers": [{"name": "b"}, {"name": "a", "image": "2",
            "ports": [{"containerPort": 80, "name": "x", "protocol": "UDP"}, {"containerPort": 81}]}]})
        )
    );
}

#[test]
fn set_element_order_puts_the_list_in_order() {
    let current = pod(json!({"containers": [{"name": "server"}, {"name": "a"}, {"name": "b"}]}));
    let patch = pod(
        json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "c"}, {"name": "a"}],
        "containers": [{"name": "c"}]}),
    );
    assert_eq!(
        strategic(current, patch),
        pod(
            json!({"containers": [{"name": "server"}, {"name": "b"}, {"name": "c"}, {"name": "a"}]})
        )
    );
}

#[test]
fn directives_delete_and_replace() {
    let current = pod(
        json!({"containers": [{"name": "a"}, {"name": "b"}], "nodeSelector": {"x": "1", "y": "2"}}),
    );
    let deleted = strategic(
        current.clone(),
        pod(json!({"containers": [{"name": "a", "$patch": "delete"}]})),
    );
    assert_eq!(
        deleted["spec"]["template"]["spec"]["containers"],
        json!([{"name": "b"}])
    );
    let replaced = strategic(
        current.clone(),
        pod(json!({"containers": [{"$patch": "replace"}, {"name": "c"}]})),
    );
    assert_eq!(
        replaced["spec"]["template"]["spec"]["containers"],
        json!([{"name": "c"}])
    );
    let map = strategic(
        current.clone(),
        pod(json!({"nodeSelector": {"$patch": "replace", "z": "3"}})),
    );
    assert_eq!(
        map["spec"]["template"]["spec"]["nodeSelector"],
        json!({"z": "3"})
    );
    let null = strategic(current, pod(json!({"nodeSelector": {"x": null}})));
    assert_eq!(
        null["spec"]["template"]["spec"]["nodeSelector"],
        json!({"y": "2"})
    );
}

#[test]
fn retain_keys_drops_the_other_members() {
    let current =
        json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    assert_eq!(
        strategic(current, patch),
        json!({"spec": {"strategy": {"type": "Recreate"}}})
    );
}

#[test]
fn primitive_lists_merge_and_lose_items() {
    let current = json!({"metadata": {"finalizers": ["a", "b"]}});
    let added = strategic(current.clone(), json!({"metadata": {"finalizers": ["c"]}}));
    assert_eq!(added["metadata"]["finalizers"], json!(["c", "a", "b"]));
    let removed = strategic(
        current,
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["b"]}}),
    );
    assert_eq!(removed["metadata"]["finalizers"], json!(["b"]));
}

#[test]
fn lists_without_a_strategy_are_replaced() {
    let current = pod(
        json!({"containers": [{"name": "a", "args": ["1", "2"]}], "tolerations": [{"key": "x"}]}),
    );
    let patch =
        pod(json!({"containers": [{"name": "a", "args": ["3"]}], "tolerations": [{"key": "y"}]}));
    let spec = strategic(current, patch)["spec"]["template"]["spec"].take();
    assert_eq!(
        spec,
        json!({"containers": [{"name": "a", "args": ["3"]}], "tolerations": [{"key": "y"}]})
    );
}

#[test]
fn an_item_without_its_key_is_a_bad_request() {
    let current = pod(json!({"containers": [{"name": "a"}]}));
    let patch = pod(json!({"containers": [{"image": "x"}]}));
    let error = apply(deployments(), PatchKind::Strategic, &current, &patch).unwrap_err();
    assert_eq!(error.code(), 400);
    assert!(
        error
            .to_string()
            .contains("does not contain declared merge key: name"),
        "{error}"
    );
}

#[test]
fn an_order_that_forgets_an_item_is_a_bad_request() {
    let current = pod(json!({"containers": [{"name": "a"}]}));
    let patch =
        pod(json!({"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "b"}]}));
    assert_eq!(
        apply(deployments(), PatchKind::Strategic, &current, &patch)
            .unwrap_err()
            .code(),
        400
    );
}

#[test]
fn json_patch_follows_the_rfc() {
    let current = json!({"a": [1, 2], "b": {"c~/d": 1}});
    let patch = json!([
        {"op": "test", "path": "/a/0", "value": 1},
        {"op": "add", "path": "/a/-", "value": 3},
        {"op": "add", "path": "/a/0", "value": 0},
        {"op": "remove", "path": "/a/1"},
        {"op": "replace", "path": "/b/c~0~1d", "value": 2},
        {"op": "copy", "from": "/a", "path": "/e"},
        {"op": "move", "from": "/b", "path": "/f"},
    ]);
    let patched = apply(deployments(), PatchKind::Json, &current, &patch).unwrap();
    assert_eq!(
        patched,
        json!({"a": [0, 2, 3], "e": [0, 2, 3], "f": {"c~/d": 2}})
    );
    for (bad, code) in [
        (json!([{"op": "test", "path": "/a/0", "value": 2}]), 422),
        (json!([{"op": "remove", "path": "/x"}]), 422),
        (json!([{"op": "add", "path": "/a/9", "value": 1}]), 422),
        (json!([{"op": "move", "from": "/b", "path": "/b/x"}]), 422),
        (json!([{"op": "spin", "path": "/a"}]), 400),
        (json!({"op": "add"}), 400),
    ] {
        assert_eq!(
            apply(deployments(), PatchKind::Json, &current, &bad)
                .unwrap_err()
                .code(),
            code,
            "{bad}"
        );
    }
}

fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..9).prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-d]", inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-d]", tree(), 0..4)
        .prop_map(|m| Value::Object(m.into_iter().collect()))
}

/// RFC 7386 in its own words, on lists of (path, leaf).
fn naive_merge(target: Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else {
        return patch.clone();
    };
    let mut object = if let Value::Object(object) = target {
        object
    } else {
        Map::new()
    };
    for (name, value) in patch {
        let old = object.remove(name).unwrap_or(Value::Null);
        if !value.is_null() {
            object.insert(name.clone(), naive_merge(old, value));
        }
    }
    Value::Object(object)
}

/// Containers with unique names and shuffled fields.
fn containers() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-d]", (0..3_u32, prop::option::of(1..4_u32)), 0..4).prop_map(|items: std::collections::BTreeMap<String, (u32, Option<u32>)>| {
        let items = items.into_iter().map(|(name, (image, port))| match port {
            Some(port) => json!({"name": name, "image": image.to_string(), "ports": [{"containerPort": port}]}),
            None => json!({"name": name, "image": image.to_string()}),
        });
        pod(json!({"containers": items.collect::<Vec<_>>()}))
    })
}

proptest! {
    #[test]
    fn merge_patch_equals_its_twin_and_is_idempotent(current in object(), patch in object()) {
        let once = apply(deployments(), PatchKind::Merge, &current, &patch).unwrap();
        prop_assert_eq!(&once, &naive_merge(current, &patch));
        prop_assert_eq!(&apply(deployments(), PatchKind::Merge, &once, &patch).unwrap(), &once);
    }

    #[test]
    fn strategic_patches_are_idempotent_and_lose_nothing(current in containers(), patch in containers()) {
        let once = apply(deployments(), PatchKind::Strategic, &current, &patch).unwrap();
        prop_assert_eq!(&apply(deployments(), PatchKind::Strategic, &once, &patch).unwrap(), &once);
        let names = |value: &Value| -> std::collections::BTreeSet<String> {
            let list = value["spec"]["template"]["spec"]["containers"].as_array().cloned().unwrap_or_default();
            list.iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect()
        };
        prop_assert_eq!(names(&once), names(&current).union(&names(&patch)).cloned().collect());
    }

    #[test]
    fn no_patch_panics(current in tree(), patch in tree()) {
        for kind in [PatchKind::Json, PatchKind::Merge, PatchKind::Strategic] {
            let _ = apply(deployments(), kind, &current, &patch);
        }
    }
}
