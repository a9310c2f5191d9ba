//! Reading Services that may not be defaulted yet.

use serde_json::Value;

pub(super) fn kind(service: &Value) -> &str {
    match service["spec"]["type"].as_str() {
        None | Some("") => "ClusterIP",
        Some(kind) => kind,
    }
}

pub(super) fn has_cluster_ip(service: &Value) -> bool {
    matches!(kind(service), "ClusterIP" | "NodePort" | "LoadBalancer")
}

/// Whether the type goes with node ports at all.
pub(super) fn has_node_ports(service: &Value) -> bool {
    matches!(kind(service), "NodePort" | "LoadBalancer")
}

/// Whether ports without a node port are to be given one. Of a LoadBalancer that opted out, only named ones are taken.
pub(super) fn allocates_node_ports(service: &Value) -> bool {
    match kind(service) {
        "NodePort" => true,
        "LoadBalancer" => service["spec"]["allocateLoadBalancerNodePorts"]
            .as_bool()
            .unwrap_or(true),
        _ => false,
    }
}

/// Load balancers ask a node whether it has endpoints of its own.
pub(super) fn needs_health_check(service: &Value) -> bool {
    kind(service) == "LoadBalancer" && service["spec"]["externalTrafficPolicy"] == "Local"
}

pub(super) fn health_check_node_port(service: &Value) -> u16 {
    number(service["spec"].get("healthCheckNodePort"))
}

pub(super) fn headless(service: &Value) -> bool {
    cluster_ips(service)
        .first()
        .is_some_and(|first| first == "None")
}

pub(super) fn is_selectorless(service: &Value) -> bool {
    service["spec"]["selector"]
        .as_object()
        .is_none_or(serde_json::Map::is_empty)
}

pub(super) fn cluster_ips(service: &Value) -> Vec<String> {
    let list = service["spec"]["clusterIPs"]
        .as_array()
        .into_iter()
        .flatten();
    let list: Vec<String> = list.filter_map(Value::as_str).map(str::to_owned).collect();
    match service["spec"]["clusterIP"]
        .as_str()
        .filter(|ip| !ip.is_empty())
    {
        // clusterIP is what most clients write; the list follows it.
        Some(first) if list.first().is_none_or(|ip| ip != first) => vec![first.to_owned()],
        _ => list,
    }
}

pub(super) fn set_cluster_ips(service: &mut Value, ips: Vec<String>) {
    if let Some(first) = ips.first() {
        service["spec"]["clusterIP"] = first.clone().into();
        service["spec"]["clusterIPs"] = ips.into();
    }
}

/// Node ports that are set.
pub(super) fn node_ports(service: &Value) -> Vec<u16> {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    ports.map(node_port).filter(|port| *port != 0).collect()
}

pub(super) fn node_port(port: &Value) -> u16 {
    number(port.get("nodePort"))
}

pub(super) fn number(port: Option<&Value>) -> u16 {
    port.and_then(Value::as_u64)
        .and_then(|port| u16::try_from(port).ok())
        .unwrap_or(0)
}
