//! What an update means for fields that depend on the type: kept where the client left them out, gone where the new type
//! has no use for them (`pkg/registry/core/service`).

use serde_json::Value;

use super::fields::{
    allocates_node_ports, cluster_ips, has_cluster_ip, health_check_node_port, kind,
    needs_health_check, node_port, node_ports, set_cluster_ips,
};

/// An update that leaves them out keeps addresses, families and node ports.
pub(super) fn carry_over(old: &Value, new: &mut Value) {
    if has_cluster_ip(old) && has_cluster_ip(new) {
        if cluster_ips(new).is_empty() {
            set_cluster_ips(new, cluster_ips(old));
        }
        for name in ["ipFamilyPolicy", "ipFamilies"] {
            let unset = new["spec"].get(name).is_none_or(Value::is_null);
            if let Some(kept) = old["spec"].get(name).filter(|_| unset) {
                new["spec"][name] = kept.clone();
            }
        }
    }
    if needs_health_check(old) && needs_health_check(new) && health_check_node_port(new) == 0 {
        new["spec"]["healthCheckNodePort"] = health_check_node_port(old).into();
    }
    if allocates_node_ports(old) && allocates_node_ports(new) {
        carry_node_ports(old, new);
    }
}

/// By the ports' names, which is how upstream tells one port from another.
fn carry_node_ports(old: &Value, new: &mut Value) {
    let old_ports = old["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let used = node_ports(new);
    let name = |port: &Value| port["name"].as_str().unwrap_or_default().to_owned();
    for port in new["spec"]["ports"].as_array_mut().into_iter().flatten() {
        let same = old_ports.iter().find(|other| name(other) == name(port));
        let kept = same.map_or(0, node_port);
        if node_port(port) == 0 && kept != 0 && !used.contains(&kept) {
            port["nodePort"] = kept.into();
        }
    }
}

/// A field that the old type needed and the new one does not is wiped, unless the client changed it as well: then it is for
/// validation to refuse.
pub(super) fn drop_unneeded(old: &Value, new: &mut Value) {
    let same = |new: &Value, name: &str| match (&old["spec"][name], &new["spec"][name]) {
        (Value::Null, _) => false,
        (old, new) => old == new,
    };
    let wipe = |new: &mut Value, name: &str| {
        if same(new, name)
            && let Some(spec) = new["spec"].as_object_mut()
        {
            spec.remove(name);
        }
    };
    if has_cluster_ip(old) && !has_cluster_ip(new) {
        for name in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            wipe(new, name);
        }
    }
    if allocates_node_ports(old) && !allocates_node_ports(new) {
        let held = node_ports(old);
        if node_ports(new).iter().all(|port| held.contains(port)) {
            let ports = new["spec"]["ports"].as_array_mut().into_iter().flatten();
            for port in ports.filter_map(Value::as_object_mut) {
                port.remove("nodePort");
            }
        }
    }
    if needs_health_check(old) && !needs_health_check(new) {
        wipe(new, "healthCheckNodePort");
    }
    if kind(old) == "LoadBalancer" && kind(new) != "LoadBalancer" {
        wipe(new, "allocateLoadBalancerNodePorts");
        wipe(new, "loadBalancerClass");
    }
    if is_external(old) && !is_external(new) {
        wipe(new, "externalTrafficPolicy");
    }
    // Whoever serves the address takes note in time; users need not see the interval.
    if kind(new) != "LoadBalancer" && new["status"].is_object() {
        new["status"]["loadBalancer"] = Value::Object(serde_json::Map::new());
    }
}

fn is_external(service: &Value) -> bool {
    let external_ips = service["spec"]["externalIPs"].as_array();
    match kind(service) {
        "NodePort" | "LoadBalancer" => true,
        "ClusterIP" => external_ips.is_some_and(|ips| !ips.is_empty()),
        _ => false,
    }
}
