//! Defaults: what a field that nobody set means (`pkg/apis/*/v1/defaults.go`).
//!
//! Applied to every decoded write; applying twice changes nothing.

mod pod;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use crate::kind::KindSpec;

const RBAC_GROUP: &str = "rbac.authorization.k8s.io";
/// Client affinity of a Service without its own: three hours.
const CLIENT_IP_TIMEOUT_S: i64 = 10_800;

pub fn apply(kind: &KindSpec, object: &mut Value) {
    match (kind.group, kind.kind) {
        ("", "Pod") => pod::pod(object),
        ("", "PodTemplate") => pod::template(&mut object["template"]),
        ("", "Service") => service(object),
        ("", "Secret") => set(object, "type", "Opaque"),
        ("", "Node") => node(object),
        ("", "Endpoints") => endpoints(object),
        ("", "PersistentVolumeClaim") => claim(object),
        ("", "PersistentVolume") => volume(object),
        ("apps", "Deployment") => deployment(&mut object["spec"]),
        ("apps", "ReplicaSet") => {
            set(&mut object["spec"], "replicas", 1);
            pod::template(&mut object["spec"]["template"]);
        }
        ("networking.k8s.io", "IngressClass") => {
            set_below(&mut object["spec"], "parameters", "scope", "Cluster");
        }
        ("discovery.k8s.io", "EndpointSlice") => {
            for port in items(object, "ports") {
                set(port, "name", "");
                set(port, "protocol", "TCP");
            }
        }
        ("scheduling.k8s.io", "PriorityClass") => {
            set(object, "preemptionPolicy", "PreemptLowerPriority");
        }
        (RBAC_GROUP, "RoleBinding" | "ClusterRoleBinding") => binding(object),
        _ => {}
    }
}

/// Sets a member that is not there.
fn set(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Some(object) = object.as_object_mut()
        && object.get(name).is_none_or(Value::is_null)
    {
        object.insert(name.to_owned(), value.into());
    }
}

/// Sets a member of a member that is there.
fn set_below(object: &mut Value, member: &str, name: &str, value: impl Into<Value>) {
    if object[member].is_object() {
        set(&mut object[member], name, value);
    }
}

/// Sets a text that is not there or empty.
fn set_text(object: &mut Value, name: &str, value: &str) {
    if object[name].as_str().is_none_or(str::is_empty)
        && let Some(object) = object.as_object_mut()
    {
        object.insert(name.to_owned(), value.into());
    }
}

/// The items of a list member, none when it is not there.
fn items<'a>(object: &'a mut Value, name: &str) -> impl Iterator<Item = &'a mut Value> {
    object
        .get_mut(name)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
}

fn deployment(spec: &mut Value) {
    set(spec, "replicas", 1);
    set(spec, "revisionHistoryLimit", 10);
    set(spec, "progressDeadlineSeconds", 600);
    set(spec, "strategy", json!({}));
    let strategy = &mut spec["strategy"];
    set_text(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        set(strategy, "rollingUpdate", json!({}));
        set(&mut strategy["rollingUpdate"], "maxSurge", "25%");
        set(&mut strategy["rollingUpdate"], "maxUnavailable", "25%");
    }
    pod::template(&mut spec["template"]);
}

fn service(service: &mut Value) {
    let spec = &mut service["spec"];
    set_text(spec, "sessionAffinity", "None");
    set_text(spec, "type", "ClusterIP");
    if spec["sessionAffinity"] == "ClientIP" {
        set(spec, "sessionAffinityConfig", json!({}));
        set(&mut spec["sessionAffinityConfig"], "clientIP", json!({}));
        set(
            &mut spec["sessionAffinityConfig"]["clientIP"],
            "timeoutSeconds",
            CLIENT_IP_TIMEOUT_S,
        );
    } else if let Some(spec) = spec.as_object_mut() {
        spec.remove("sessionAffinityConfig");
    }
    let balanced = spec["type"] == "LoadBalancer";
    let external = spec["externalIPs"]
        .as_array()
        .is_some_and(|ips| !ips.is_empty());
    if balanced || spec["type"] == "NodePort" || (spec["type"] == "ClusterIP" && external) {
        set_text(spec, "externalTrafficPolicy", "Cluster");
    }
    if spec["type"] != "ExternalName" {
        set(spec, "internalTrafficPolicy", "Cluster");
    }
    if balanced {
        set(spec, "allocateLoadBalancerNodePorts", true);
    }
    for port in items(spec, "ports") {
        set_text(port, "protocol", "TCP");
        let unset = matches!(&port["targetPort"], Value::Null)
            || port["targetPort"] == 0
            || port["targetPort"] == "";
        if unset {
            port["targetPort"] = port["port"].clone();
        }
    }
    if balanced {
        for ingress in items(&mut service["status"]["loadBalancer"], "ingress") {
            if ingress["ip"].is_string() {
                set(ingress, "ipMode", "VIP");
            }
        }
    }
}

fn node(node: &mut Value) {
    if node["status"]["capacity"].is_object() {
        let capacity = node["status"]["capacity"].clone();
        set(&mut node["status"], "allocatable", capacity);
    }
}

fn endpoints(endpoints: &mut Value) {
    for subset in items(endpoints, "subsets") {
        items(subset, "ports").for_each(|port| set_text(port, "protocol", "TCP"));
    }
}

fn claim(claim: &mut Value) {
    set(&mut claim["spec"], "volumeMode", "Filesystem");
    set(claim, "status", json!({}));
    set_text(&mut claim["status"], "phase", "Pending");
}

fn volume(volume: &mut Value) {
    let spec = &mut volume["spec"];
    set_text(spec, "persistentVolumeReclaimPolicy", "Retain");
    set(spec, "volumeMode", "Filesystem");
    set_below(spec, "hostPath", "type", "");
    set(volume, "status", json!({}));
    set_text(&mut volume["status"], "phase", "Pending");
}

fn binding(binding: &mut Value) {
    if binding["roleRef"].is_object() {
        set_text(&mut binding["roleRef"], "apiGroup", RBAC_GROUP);
    }
    for subject in items(binding, "subjects") {
        if matches!(subject["kind"].as_str(), Some("User" | "Group")) {
            set_text(subject, "apiGroup", RBAC_GROUP);
        }
    }
}
