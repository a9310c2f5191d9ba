use super::{ListType, Shape, Value, arena};
use crate::kind;

#[test]
fn every_served_kind_and_every_body_has_a_type() {
    for spec in kind::all() {
        let found = arena()
            .find(spec.root_type)
            .unwrap_or_else(|| panic!("{}", spec.root_type));
        assert_eq!(found.kind, Some([spec.group, spec.version, spec.kind]));
        assert!(
            !spec.is_stored() || arena().find(&format!("{}List", spec.root_type)).is_some(),
            "{}",
            spec.root_type
        );
        for body in spec.subresources.iter().filter_map(|s| s.body()) {
            assert!(arena().find(body.root_type).is_some(), "{}", body.root_type);
        }
    }
}

#[test]
fn a_container_port_list_knows_both_its_keys() {
    let container = arena().find("io.k8s.api.core.v1.Container").unwrap();
    let ports = arena().member(container, "ports").unwrap();
    assert_eq!((ports.number, ports.shape), (6, Shape::List));
    assert_eq!(ports.list, ListType::Map(vec!["containerPort", "protocol"]));
    assert!(ports.patch.merge);
    assert_eq!(ports.merge_key, Some("containerPort"));
}

#[test]
fn members_of_inlined_structs_stand_in_the_parent() {
    let volume = arena().find("io.k8s.api.core.v1.Volume").unwrap();
    let secret = arena().member(volume, "secret").unwrap();
    assert!(matches!(secret.value, Value::Message(_)));
    assert!(arena().member(volume, "volumeSource").is_none());
}

#[test]
fn the_retain_keys_strategy_is_known() {
    let spec = arena().find("io.k8s.api.apps.v1.DeploymentSpec").unwrap();
    assert!(arena().member(spec, "strategy").unwrap().patch.retain_keys);
    assert!(arena().member(spec, "replicas").unwrap().pointer);
}
