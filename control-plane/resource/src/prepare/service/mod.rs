//! Services: what to take from the server's pools, and where it goes in the object.

mod change;
mod fields;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::{Allocated, IpFamily, NamedPort, ServiceNeed};
use fields::{
    allocates_node_ports, cluster_ips, has_cluster_ip, has_node_ports, headless,
    health_check_node_port, is_selectorless, needs_health_check, node_port, node_ports, number,
    set_cluster_ips,
};

/// Before create (`old` absent) or update of a Service: what the server has to reserve.
pub fn service_need(old: Option<&Value>, new: &Value) -> ServiceNeed {
    let mut new = new.clone();
    if let Some(old) = old {
        change::carry_over(old, &mut new);
    }
    let mut need = ServiceNeed::default();
    if !has_cluster_ip(&new) {
        return need;
    }
    let old_ips = old.map(cluster_ips).unwrap_or_default();
    let ips = cluster_ips(&new);
    // Without pods and address there is nothing to configure: such a Service may name families the cluster lacks.
    if !(headless(&new) && is_selectorless(&new)) {
        let old_families = old.map(|old| named_families(&old["spec"]));
        let families = named_families(&new["spec"]);
        if old_families.as_ref() != Some(&families) {
            need.families = families;
        }
        need.dual_stack = new["spec"]["ipFamilyPolicy"] == "RequireDualStack";
    }
    if ips.is_empty() {
        need.cluster_ips = match need.families.as_slice() {
            [] => vec![IpFamily::Primary],
            named => named.to_vec(),
        };
    }
    let fresh = ips.iter().filter(|ip| !old_ips.contains(ip));
    need.named_ips = fresh.filter_map(|ip| ip.parse().ok()).collect();
    let held = old.map(node_ports).unwrap_or_default();
    if has_node_ports(&new) {
        need_node_ports(old, &new, &held, &mut need);
    }
    if needs_health_check(&new) {
        let kept = old
            .filter(|old| needs_health_check(old))
            .map(health_check_node_port);
        match health_check_node_port(&new) {
            0 => need.node_ports += 1,
            port if kept == Some(port) => {}
            port => need.named_node_ports.push(NamedPort {
                field: "spec.healthCheckNodePort".to_owned(),
                port,
            }),
        }
    }
    need
}

fn need_node_ports(old: Option<&Value>, new: &Value, held: &[u16], need: &mut ServiceNeed) {
    let named = |(index, port): (usize, &Value)| match node_port(port) {
        0 => None,
        port if held.contains(&port) => None,
        port => Some(NamedPort {
            field: format!("spec.ports[{index}].nodePort"),
            port,
        }),
    };
    let ports = new["spec"]["ports"].as_array().into_iter().flatten();
    need.named_node_ports = ports.clone().enumerate().filter_map(named).collect();
    if !allocates_node_ports(new) {
        return;
    }
    let open = ports.filter(|port| node_port(port) == 0);
    need.node_ports = match old {
        Some(_) => open.count(),
        None => {
            let shared = shared_node_ports(new);
            let wanting = open.map(|port| number(port.get("port")));
            let distinct: std::collections::BTreeSet<u16> = wanting.collect();
            distinct
                .iter()
                .filter(|port| !shared.contains_key(*port))
                .count()
        }
    };
}

/// Of a new Service, TCP and UDP on one port number share one node port: the port's number → the node port it names.
fn shared_node_ports(service: &Value) -> BTreeMap<u16, u16> {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let named = ports.filter(|port| node_port(port) != 0);
    let mut shared = BTreeMap::new();
    for port in named {
        shared
            .entry(number(port.get("port")))
            .or_insert(node_port(port));
    }
    shared
}

/// Puts addresses and ports into place, and takes away what the type has no use for.
pub(super) fn assign(old: Option<&Value>, new: &mut Value, allocated: &Allocated) {
    if let Some(old) = old {
        change::drop_unneeded(old, new);
        change::carry_over(old, new);
    }
    if has_cluster_ip(new) {
        let mut ips = cluster_ips(new);
        if ips.is_empty() {
            ips = allocated
                .cluster_ips
                .iter()
                .map(IpAddr::to_string)
                .collect();
        }
        set_cluster_ips(new, ips);
        set_families(new);
    }
    let mut free = allocated.node_ports.iter().copied();
    if has_node_ports(new) && allocates_node_ports(new) {
        let mut shared = match old {
            Some(_) => BTreeMap::new(),
            None => shared_node_ports(new),
        };
        for port in new["spec"]["ports"].as_array_mut().into_iter().flatten() {
            if node_port(port) != 0 {
                continue;
            }
            let same = number(port.get("port"));
            let found = shared.get(&same).copied().or_else(|| free.next());
            let Some(found) = found else { continue };
            if old.is_none() {
                shared.insert(same, found);
            }
            port["nodePort"] = found.into();
        }
    }
    if needs_health_check(new)
        && health_check_node_port(new) == 0
        && let Some(port) = free.next()
    {
        new["spec"]["healthCheckNodePort"] = port.into();
    }
}

fn set_families(service: &mut Value) {
    let ips = cluster_ips(service);
    let free = headless(service) && is_selectorless(service);
    let spec = &mut service["spec"];
    if spec.get("ipFamilyPolicy").is_none_or(Value::is_null) {
        let dual = ips.len() > 1 || free;
        let policy = if dual {
            "RequireDualStack"
        } else {
            "SingleStack"
        };
        spec["ipFamilyPolicy"] = policy.into();
    }
    let family = |ip: &String| if ip.contains(':') { "IPv6" } else { "IPv4" };
    let named = spec["ipFamilies"].as_array();
    let mut families: Vec<Value> = match named.filter(|named| !named.is_empty()) {
        Some(named) => named.clone(),
        None => ips.iter().map(family).map(Value::from).collect(),
    };
    if free && families.len() == 1 && spec["ipFamilyPolicy"] != "SingleStack" {
        let other = if families[0] == "IPv6" {
            "IPv4"
        } else {
            "IPv6"
        };
        families.push(other.into());
    }
    if !families.is_empty() {
        spec["ipFamilies"] = json!(families);
    }
}

fn named_families(spec: &Value) -> Vec<IpFamily> {
    let named = spec["ipFamilies"].as_array().into_iter().flatten();
    named
        .map(|family| match family.as_str() {
            Some("IPv6") => IpFamily::V6,
            _ => IpFamily::V4,
        })
        .collect()
}
