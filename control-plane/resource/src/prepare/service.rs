//! Services: what to take from the server's pools, and where it goes in the object.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::{Allocated, IpFamily, ServiceNeed};

/// Before create (`old` absent) or update of a Service: what the server has to reserve.
pub fn service_need(old: Option<&Value>, new: &Value) -> ServiceNeed {
    let mut new = new.clone();
    carry_over(old, &mut new);
    let mut need = ServiceNeed::default();
    if !has_cluster_ip(&new) {
        return need;
    }
    let old_ips = old.map(cluster_ips).unwrap_or_default();
    let ips = cluster_ips(&new);
    if ips.is_empty() {
        need.cluster_ips = families(&new["spec"]);
    }
    let fresh = ips.iter().filter(|ip| !old_ips.contains(ip));
    need.named_ips = fresh.filter_map(|ip| ip.parse().ok()).collect();
    if has_node_ports(&new) {
        let old_ports = old.map(node_ports).unwrap_or_default();
        let ports = node_ports(&new);
        need.node_ports = ports.iter().filter(|port| **port == 0).count();
        need.named_node_ports = ports
            .into_iter()
            .filter(|port| *port != 0 && !old_ports.contains(port))
            .collect();
    }
    need
}

/// Puts addresses and ports into place, and takes away what the type has no use for.
pub(super) fn assign(old: Option<&Value>, new: &mut Value, allocated: &Allocated) {
    carry_over(old, new);
    if has_cluster_ip(new) {
        if cluster_ips(new).is_empty() {
            let taken: Vec<String> = allocated
                .cluster_ips
                .iter()
                .map(IpAddr::to_string)
                .collect();
            set_cluster_ips(new, taken);
        } else {
            let ips = cluster_ips(new);
            set_cluster_ips(new, ips);
        }
        set_families(new);
    } else if let Some(spec) = new["spec"].as_object_mut() {
        for name in [
            "clusterIP",
            "clusterIPs",
            "ipFamilies",
            "ipFamilyPolicy",
            "internalTrafficPolicy",
        ] {
            spec.remove(name);
        }
    }
    let mut free = allocated.node_ports.iter();
    let wanted = has_node_ports(new);
    for port in new["spec"]["ports"].as_array_mut().into_iter().flatten() {
        let Some(port) = port.as_object_mut() else {
            continue;
        };
        if !wanted {
            // A ClusterIP service may not keep the port it had as NodePort.
            if old.is_some_and(has_node_ports) {
                port.remove("nodePort");
            }
        } else if number(port.get("nodePort")) == 0
            && let Some(taken) = free.next()
        {
            port.insert("nodePort".to_owned(), (*taken).into());
        }
    }
}

/// An update that leaves them out keeps addresses and node ports.
fn carry_over(old: Option<&Value>, new: &mut Value) {
    let Some(old) = old else { return };
    if has_cluster_ip(old) && has_cluster_ip(new) && cluster_ips(new).is_empty() {
        set_cluster_ips(new, cluster_ips(old));
    }
    if !(has_node_ports(old) && has_node_ports(new)) {
        return;
    }
    let old_ports = old["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let used = node_ports(new);
    let protocol = |port: &Value| port["protocol"].as_str().unwrap_or("TCP").to_owned();
    for port in new["spec"]["ports"].as_array_mut().into_iter().flatten() {
        let same = old_ports
            .iter()
            .find(|other| other["port"] == port["port"] && protocol(other) == protocol(port));
        let kept = same.map_or(0, |same| number(same.get("nodePort")));
        if number(port.get("nodePort")) == 0 && kept != 0 && !used.contains(&kept) {
            port["nodePort"] = kept.into();
        }
    }
}

fn has_cluster_ip(service: &Value) -> bool {
    matches!(
        service["spec"]["type"].as_str(),
        None | Some("ClusterIP" | "NodePort" | "LoadBalancer")
    )
}

fn has_node_ports(service: &Value) -> bool {
    let spec = &service["spec"];
    match spec["type"].as_str() {
        Some("NodePort") => true,
        Some("LoadBalancer") => spec["allocateLoadBalancerNodePorts"]
            .as_bool()
            .unwrap_or(true),
        _ => false,
    }
}

fn cluster_ips(service: &Value) -> Vec<String> {
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

fn set_cluster_ips(service: &mut Value, ips: Vec<String>) {
    if let Some(first) = ips.first() {
        service["spec"]["clusterIP"] = first.clone().into();
        service["spec"]["clusterIPs"] = ips.into();
    }
}

fn set_families(service: &mut Value) {
    let ips = cluster_ips(service);
    let spec = &mut service["spec"];
    if spec.get("ipFamilyPolicy").is_none() {
        let policy = if ips.len() > 1 {
            "RequireDualStack"
        } else {
            "SingleStack"
        };
        spec["ipFamilyPolicy"] = policy.into();
    }
    if spec.get("ipFamilies").is_some() {
        return;
    }
    let families: Vec<&str> = ips
        .iter()
        .map(|ip| if ip.contains(':') { "IPv6" } else { "IPv4" })
        .collect();
    if !families.is_empty() {
        spec["ipFamilies"] = json!(families);
    }
}

fn families(spec: &Value) -> Vec<IpFamily> {
    let named = spec["ipFamilies"].as_array().into_iter().flatten();
    let mut families: Vec<IpFamily> = named
        .map(|family| {
            if family == "IPv6" {
                IpFamily::V6
            } else {
                IpFamily::V4
            }
        })
        .collect();
    if families.is_empty() {
        families.push(IpFamily::Primary);
        if spec["ipFamilyPolicy"] == "RequireDualStack" {
            families = vec![IpFamily::V4, IpFamily::V6];
        }
    }
    families
}

fn node_ports(service: &Value) -> Vec<u16> {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    ports
        .map(|port| number(port.as_object().and_then(|p: &Map<_, _>| p.get("nodePort"))))
        .collect()
}

fn number(port: Option<&Value>) -> u16 {
    port.and_then(Value::as_u64)
        .and_then(|port| u16::try_from(port).ok())
        .unwrap_or(0)
}
