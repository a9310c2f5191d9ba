//! Services (`pkg/apis/core/validation`, `ValidateService`).

mod external;

use std::collections::BTreeSet;

use serde_json::Value;

use super::faults::{Faults, Path, list, text};
use super::{labels, names};

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const MAX_AFFINITY_S: i64 = 86_400;

pub(super) fn check(service: &Value, faults: &mut Faults) {
    let spec = &service["spec"];
    let at = Path::root("spec");
    let kind = text(spec, "type");
    let headless = spec["clusterIP"] == "None";
    if list(spec, "ports").is_empty() && !headless && kind != "ExternalName" {
        faults.required(at.child("ports"), "");
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            let first = at.child("clusterIPs").index(0);
            faults.invalid(
                first,
                &"None".into(),
                format!("may not be set to 'None' for {kind} services"),
            );
        }
        "ExternalName" => {
            for (name, shown) in [
                ("clusterIP", "clusterIPs"),
                ("ipFamilies", "ipFamilies"),
                ("ipFamilyPolicy", "ipFamilyPolicy"),
            ] {
                if !text(spec, name).is_empty() || !list(spec, name).is_empty() {
                    faults.forbidden(at.child(shown), "may not be set for ExternalName services");
                }
            }
            // A trailing dot is allowed.
            match text(spec, "externalName").trim_end_matches('.') {
                "" => faults.required(at.child("externalName"), ""),
                name => faults.each(&at.child("externalName"), name, names::dns_subdomain(name)),
            }
        }
        _ => {}
    }
    ports(spec, &at, faults);
    labels::labels(&spec["selector"], &at.child("selector"), faults);
    choices(spec, &at, faults);
    external::check(service, faults);
    for name in ["clusterIPs", "externalIPs"] {
        for (index, ip) in list(spec, name).iter().enumerate() {
            let text = ip.as_str().unwrap_or_default();
            if text != "None" {
                faults.each(&at.child(name).index(index), text, names::ip_address(text));
            }
        }
    }
}

fn choices(spec: &Value, at: &Path, faults: &mut Faults) {
    if text(spec, "type").is_empty() {
        faults.required(at.child("type"), "");
    }
    faults.one_of(spec, "type", &TYPES, at);
    if text(spec, "sessionAffinity").is_empty() {
        faults.required(at.child("sessionAffinity"), "");
    }
    faults.one_of(spec, "sessionAffinity", &["ClientIP", "None"], at);
    let timeout = &spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"];
    if timeout
        .as_i64()
        .is_some_and(|seconds| seconds <= 0 || seconds > MAX_AFFINITY_S)
    {
        let here = at
            .child("sessionAffinityConfig")
            .child("clientIP")
            .child("timeoutSeconds");
        faults.invalid(
            here,
            timeout,
            format!("must be greater than 0 and less than {MAX_AFFINITY_S}"),
        );
    }
    faults.one_of(spec, "externalTrafficPolicy", &["Cluster", "Local"], at);
    faults.one_of(spec, "internalTrafficPolicy", &["Cluster", "Local"], at);
    faults.one_of(
        spec,
        "ipFamilyPolicy",
        &["SingleStack", "PreferDualStack", "RequireDualStack"],
        at,
    );
}

fn ports(spec: &Value, at: &Path, faults: &mut Faults) {
    let ports = list(spec, "ports");
    let mut seen_names = BTreeSet::new();
    let mut seen_ports = BTreeSet::new();
    let mut seen_node_ports = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let here = at.child("ports").index(index);
        let name = text(port, "name");
        if name.is_empty() && ports.len() > 1 {
            faults.required(here.child("name"), "");
        } else if !name.is_empty() {
            faults.each(&here.child("name"), name, names::dns_label(name));
            if !seen_names.insert(name) {
                faults.duplicate(here.child("name"), &port["name"]);
            }
        }
        for message in names::port_number(port["port"].as_i64().unwrap_or(0)) {
            faults.invalid(here.child("port"), &port["port"], message);
        }
        let protocol = text(port, "protocol");
        if protocol.is_empty() {
            faults.required(here.child("protocol"), "");
        }
        faults.one_of(port, "protocol", &["SCTP", "TCP", "UDP"], &here);
        target(&port["targetPort"], here.child("targetPort"), faults);
        if !seen_ports.insert((protocol, port["port"].as_i64())) {
            let shown = serde_json::json!({"protocol": protocol, "port": port["port"]});
            faults.duplicate(here.clone(), &shown);
        }
        let node_port = port["nodePort"].as_i64().unwrap_or(0);
        if node_port != 0 {
            if text(spec, "type") == "ClusterIP" {
                let detail = "may not be used when `type` is 'ClusterIP'";
                faults.forbidden(here.child("nodePort"), detail);
            } else if !seen_node_ports.insert((protocol, node_port)) {
                faults.duplicate(here.child("nodePort"), &port["nodePort"]);
            }
        }
    }
}

fn target(target: &Value, at: Path, faults: &mut Faults) {
    let messages = match target {
        Value::String(name) => names::port_name(name),
        Value::Number(number) => names::port_number(number.as_i64().unwrap_or(0)),
        _ => return,
    };
    for message in messages {
        faults.invalid(at.clone(), target, message);
    }
}

/// Addresses stay what they were, unless the type comes from or goes to one without any.
pub(super) fn changes(old: &Value, new: &Value, faults: &mut Faults) {
    let (old, new) = (&old["spec"], &new["spec"]);
    external::changes(old, new, faults);
    if text(old, "type") == "ExternalName" || text(new, "type") == "ExternalName" {
        return;
    }
    let first = |spec: &Value| {
        list(spec, "clusterIPs")
            .first()
            .cloned()
            .unwrap_or(spec["clusterIP"].clone())
    };
    if !text(old, "clusterIP").is_empty() && first(old) != first(new) {
        let at = Path::root("spec").child("clusterIPs").index(0);
        faults.invalid(at, &new["clusterIPs"], "may not change once set");
    }
    let class = &old["loadBalancerClass"];
    if text(old, "type") == "LoadBalancer"
        && text(new, "type") == "LoadBalancer"
        && *class != new["loadBalancerClass"]
    {
        let at = Path::root("spec").child("loadBalancerClass");
        faults.invalid(at, &new["loadBalancerClass"], "may not change once set");
    }
}

/// A write of the status subresource.
pub(super) fn status(service: &Value, faults: &mut Faults) {
    external::status(service, faults);
}
