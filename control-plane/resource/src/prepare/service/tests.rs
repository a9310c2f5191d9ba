//! Node ports, health check ports and families over the life of a Service.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::service_need;
use crate::codec::{FieldValidation, decode_value};
use crate::error::ApiError;
use crate::kind::{KindSpec, Subresource, by_kind};
use crate::prepare::{Allocated, NamedPort, ServiceNeed, Updated, WriteContext, create, update};

fn kind() -> &'static KindSpec {
    by_kind("", "v1", "Service").unwrap()
}

fn context(node_ports: &[u16]) -> WriteContext<'static> {
    WriteContext {
        now: Timestamp::UNIX_EPOCH,
        uid: "u",
        name_suffix: "x7k2b",
        name: "",
        user: "admin",
        default_ingress_class: None,
        allocated: Allocated {
            cluster_ips: vec!["10.43.0.9".parse().unwrap()],
            node_ports: node_ports.to_vec(),
        },
    }
}

fn service(spec: Value) -> Value {
    json!({"metadata": {"name": "s"}, "spec": spec})
}

fn made(spec: Value, node_ports: &[u16]) -> Result<Value, ApiError> {
    let object = decode_value(kind().root_type, &service(spec), FieldValidation::Strict)?.object;
    let mut made = create(kind(), Some("default"), object, &context(node_ports))?;
    made["metadata"]["resourceVersion"] = "5".into();
    Ok(made)
}

/// The Service after an update by somebody who changes what `change` says, with what was newly taken.
fn changed(
    old: &Value,
    node_ports: &[u16],
    change: impl Fn(&mut Value),
) -> Result<Value, ApiError> {
    let mut new = old.clone();
    change(&mut new);
    match update(kind(), None, old, new, &context(node_ports))? {
        Updated::Write(mut object) => {
            object["metadata"]["resourceVersion"] = "5".into();
            Ok(object)
        }
        Updated::Unchanged(object) => Ok(object),
        Updated::Remove(_) => panic!("nothing was deleted"),
    }
}

fn faults(outcome: Result<Value, ApiError>) -> Vec<String> {
    match outcome {
        Ok(_) => Vec::new(),
        Err(ApiError::Invalid { errors, .. }) => errors.iter().map(ToString::to_string).collect(),
        Err(other) => panic!("{other}"),
    }
}

fn balanced(policy: &str) -> Value {
    json!({"type": "LoadBalancer", "externalTrafficPolicy": policy, "selector": {"a": "b"}, "ports": [{"port": 80}]})
}

#[test]
fn a_local_load_balancer_takes_a_port_for_its_health_check() {
    let need = service_need(None, &service(balanced("Local")));
    assert_eq!(need.node_ports, 2);
    let made = made(balanced("Local"), &[30_001, 30_002]).unwrap();
    assert_eq!(made["spec"]["ports"][0]["nodePort"], 30_001);
    assert_eq!(made["spec"]["healthCheckNodePort"], 30_002);
    assert_eq!(made["spec"]["allocateLoadBalancerNodePorts"], true);
    // Whoever leaves it out keeps it; whoever names another is refused.
    let left_out = |new: &mut Value| {
        drop(
            new["spec"]
                .as_object_mut()
                .unwrap()
                .remove("healthCheckNodePort"),
        )
    };
    let mut without = made.clone();
    left_out(&mut without);
    assert_eq!(service_need(Some(&made), &without), ServiceNeed::default());
    let kept = changed(&made, &[], left_out).unwrap();
    assert_eq!(kept["spec"]["healthCheckNodePort"], 30_002);
    assert_eq!(
        faults(changed(
            &made,
            &[],
            |new| new["spec"]["healthCheckNodePort"] = 31_000.into()
        )),
        ["spec.healthCheckNodePort: Forbidden: field is immutable"]
    );
    let cluster = changed(&made, &[], |new| {
        new["spec"]["externalTrafficPolicy"] = "Cluster".into()
    });
    assert_eq!(cluster.unwrap()["spec"].get("healthCheckNodePort"), None);
}

#[test]
fn a_named_health_check_port_is_to_be_reserved() {
    let mut spec = balanced("Local");
    spec["healthCheckNodePort"] = 31_111.into();
    let need = service_need(None, &service(spec));
    let port = NamedPort {
        field: "spec.healthCheckNodePort".to_owned(),
        port: 31_111,
    };
    assert_eq!((need.node_ports, need.named_node_ports), (1, vec![port]));
    assert_eq!(
        faults(made(
            json!({"ports": [{"port": 80}], "healthCheckNodePort": 31_111}),
            &[]
        )),
        [
            "spec.healthCheckNodePort: Invalid value: 31111: may only be set when `type` is 'LoadBalancer' and \
          `externalTrafficPolicy` is 'Local'"
        ]
    );
}

#[test]
fn a_load_balancer_without_node_ports_takes_named_ones_only() {
    let mut spec = balanced("Cluster");
    spec["allocateLoadBalancerNodePorts"] = false.into();
    assert_eq!(service_need(None, &service(spec.clone())).node_ports, 0);
    let none = made(spec.clone(), &[]).unwrap();
    assert_eq!(none["spec"]["ports"][0].get("nodePort"), None);
    spec["ports"][0]["nodePort"] = 30_007.into();
    let need = service_need(None, &service(spec.clone()));
    assert_eq!(need.named_node_ports[0].field, "spec.ports[0].nodePort");
    let named = made(spec, &[]).unwrap();
    assert_eq!(named["spec"]["ports"][0]["nodePort"], 30_007);
    // Opting out later gives back what was taken.
    let taken = made(balanced("Cluster"), &[30_001]).unwrap();
    let out = changed(&taken, &[], |new| {
        new["spec"]["allocateLoadBalancerNodePorts"] = false.into();
    });
    assert_eq!(out.unwrap()["spec"]["ports"][0].get("nodePort"), None);
}

#[test]
fn one_port_number_over_two_protocols_is_one_node_port() {
    let spec = json!({"type": "NodePort", "ports": [
        {"name": "t", "port": 53, "protocol": "TCP"}, {"name": "u", "port": 53, "protocol": "UDP"}, {"name": "w", "port": 80}]});
    assert_eq!(service_need(None, &service(spec.clone())).node_ports, 2);
    let made = made(spec, &[30_001, 30_002]).unwrap();
    let ports: Vec<_> = (0..3)
        .map(|i| &made["spec"]["ports"][i]["nodePort"])
        .collect();
    assert_eq!(ports, [30_001, 30_001, 30_002]);
}

#[test]
fn every_change_of_type_drops_what_the_new_one_has_no_use_for() {
    let mut balanced = made(balanced("Local"), &[30_001, 30_002]).unwrap();
    balanced["spec"]["loadBalancerClass"] = "example.com/lb".into();
    balanced["status"]["loadBalancer"] = json!({"ingress": [{"ip": "192.0.2.2", "ipMode": "VIP"}]});
    let turn = |kind: &'static str| {
        changed(&balanced, &[], move |new| {
            new["spec"]["type"] = kind.into();
            if kind == "ExternalName" {
                new["spec"]["externalName"] = "example.com".into();
            }
        })
    };
    let cluster = turn("ClusterIP").unwrap();
    for gone in [
        "healthCheckNodePort",
        "allocateLoadBalancerNodePorts",
        "loadBalancerClass",
        "externalTrafficPolicy",
    ] {
        assert_eq!(cluster["spec"].get(gone), None, "{gone}");
    }
    assert_eq!(cluster["spec"]["ports"][0].get("nodePort"), None);
    assert_eq!(cluster["spec"]["clusterIP"], "10.43.0.9");
    assert_eq!(cluster["status"]["loadBalancer"], json!({}));
    let node = turn("NodePort").unwrap();
    assert_eq!(node["spec"]["ports"][0]["nodePort"], 30_001);
    assert_eq!(node["spec"]["externalTrafficPolicy"], "Local");
    assert_eq!(node["spec"].get("healthCheckNodePort"), None);
    let name = turn("ExternalName").unwrap();
    for gone in [
        "clusterIP",
        "clusterIPs",
        "ipFamilies",
        "ipFamilyPolicy",
        "healthCheckNodePort",
    ] {
        assert_eq!(name["spec"].get(gone), None, "{gone}");
    }
    let back = changed(&name, &[30_009], |new| {
        new["spec"]["type"] = "NodePort".into()
    })
    .unwrap();
    assert_eq!(back["spec"]["clusterIPs"], json!(["10.43.0.9"]));
    assert_eq!(back["spec"]["ports"][0]["nodePort"], 30_009);
}

#[test]
fn what_the_client_changes_with_the_type_is_refused_not_dropped() {
    let old = made(balanced("Cluster"), &[30_001]).unwrap();
    let both = changed(&old, &[], |new| {
        new["spec"]["type"] = "ClusterIP".into();
        new["spec"]["ports"][0]["nodePort"] = 30_099.into();
        new["spec"]["loadBalancerSourceRanges"] = json!(["10.0.0.0/8"]);
    });
    assert_eq!(
        faults(both),
        [
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
            "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
        ]
    );
}

#[test]
fn node_ports_follow_their_ports_names() {
    let spec = json!({"type": "NodePort", "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]});
    let old = made(spec, &[30_001, 30_002]).unwrap();
    let new = changed(&old, &[30_003], |new| {
        new["spec"]["ports"] = json!([{"name": "b", "port": 91, "protocol": "TCP", "targetPort": 91},
            {"name": "c", "port": 80, "protocol": "TCP", "targetPort": 80}]);
    });
    let new = new.unwrap();
    assert_eq!(new["spec"]["ports"][0]["nodePort"], 30_002);
    assert_eq!(new["spec"]["ports"][1]["nodePort"], 30_003);
}

#[test]
fn families_are_what_the_cluster_gave() {
    let pods = json!({"selector": {"a": "b"}, "ports": [{"port": 80}], "ipFamilyPolicy": "PreferDualStack"});
    let prefers = made(pods, &[]).unwrap();
    assert_eq!(prefers["spec"]["ipFamilyPolicy"], "PreferDualStack");
    assert_eq!(prefers["spec"]["ipFamilies"], json!(["IPv4"]));
    let free = made(json!({"clusterIP": "None", "ports": [{"port": 80}]}), &[]).unwrap();
    assert_eq!(free["spec"]["ipFamilyPolicy"], "RequireDualStack");
    assert_eq!(free["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
    let need = service_need(
        None,
        &service(json!({"ports": [{"port": 80}], "ipFamilyPolicy": "RequireDualStack"})),
    );
    assert!(need.dual_stack);
}

#[test]
fn a_load_balancers_fields_are_checked() {
    let mut spec = balanced("Cluster");
    spec["loadBalancerSourceRanges"] =
        json!(["10.0.0.0/8", " 192.0.2.1/32 ", "10.0.0.1", "::/129"]);
    spec["loadBalancerClass"] = "bad class".into();
    spec["externalIPs"] = json!(["127.0.0.1", "169.254.1.1"]);
    let said = faults(made(spec, &[30_001]));
    let cidr = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    assert_eq!(
        said[0],
        format!("spec.LoadBalancerSourceRanges[2]: Invalid value: \"10.0.0.1\": {cidr}")
    );
    assert_eq!(
        said[1],
        format!("spec.LoadBalancerSourceRanges[3]: Invalid value: \"::/129\": {cidr}")
    );
    assert!(
        said[2].starts_with("spec.loadBalancerClass: Invalid value: \"bad class\": name part must"),
        "{said:?}"
    );
    assert_eq!(
        said[3],
        "spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)"
    );
    assert_eq!(
        said[4],
        "spec.externalIPs[1]: Invalid value: \"169.254.1.1\": may not be in the link-local range (169.254.0.0/16, fe80::/10)"
    );
    assert_eq!(said.len(), 5);
    assert_eq!(
        faults(made(
            json!({"ports": [{"port": 80}], "externalTrafficPolicy": "Local"}),
            &[]
        )),
        [
            "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services"
        ]
    );
    let old = made(balanced("Cluster"), &[30_001]).unwrap();
    assert_eq!(
        faults(changed(&old, &[], |new| new["spec"]["loadBalancerClass"] =
            "a/b".into())),
        ["spec.loadBalancerClass: Invalid value: \"a/b\": may not change once set"]
    );
}

#[test]
fn the_status_is_written_by_its_subresource_alone() {
    let old = made(balanced("Cluster"), &[30_001]).unwrap();
    let status = |old: &Value, ingress: Value| {
        let mut new = old.clone();
        new["spec"]["selector"] = json!({"else": "where"});
        new["status"]["loadBalancer"]["ingress"] = ingress;
        match update(kind(), Some(Subresource::Status), old, new, &context(&[]))? {
            Updated::Write(object) => Ok(object),
            other => panic!("{other:?}"),
        }
    };
    let written = status(&old, json!([{"ip": "192.0.2.2"}])).unwrap();
    assert_eq!(
        written["status"]["loadBalancer"]["ingress"],
        json!([{"ip": "192.0.2.2", "ipMode": "VIP"}])
    );
    assert_eq!(written["spec"], old["spec"]);
    let bad = json!([{"ip": "x"}, {"hostname": "1.2.3.4", "ipMode": "VIP"}]);
    assert_eq!(
        faults(status(&old, bad)),
        [
            "status.loadBalancer.ingress[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            "status.loadBalancer.ingress[1].ipMode: Forbidden: may not be specified when `ip` is not set",
            "status.loadBalancer.ingress[1].hostname: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address",
        ]
    );
    let plain = made(json!({"ports": [{"port": 80}]}), &[]).unwrap();
    assert_eq!(
        faults(status(
            &plain,
            json!([{"ip": "192.0.2.2", "ipMode": "VIP"}])
        )),
        [
            "status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is \"LoadBalancer\""
        ]
    );
    let through_the_spec = changed(&old, &[], |new| {
        new["status"]["loadBalancer"] = json!({"ingress": [{"ip": "192.0.2.2", "ipMode": "VIP"}]});
    });
    assert_eq!(through_the_spec.unwrap()["status"], old["status"]);
}
