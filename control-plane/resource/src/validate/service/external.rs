//! What concerns traffic from outside: load balancers, their status, external addresses.

use std::net::IpAddr;

use serde_json::Value;

use super::super::faults::{Faults, Path, list, text};
use super::super::names;

/// The deprecated twin of `spec.loadBalancerSourceRanges`.
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const ONLY_LOAD_BALANCER: &str = "may only be used when `type` is 'LoadBalancer'";

pub(super) fn check(service: &Value, faults: &mut Faults) {
    let spec = &service["spec"];
    let at = Path::root("spec");
    source_ranges(service, &at, faults);
    let balanced = text(spec, "type") == "LoadBalancer";
    let said = |name: &str| !spec[name].is_null();
    if !balanced && said("allocateLoadBalancerNodePorts") {
        let field = at.child("allocateLoadBalancerNodePorts");
        faults.forbidden(field, ONLY_LOAD_BALANCER);
    }
    if said("loadBalancerClass") {
        let field = at.child("loadBalancerClass");
        let class = text(spec, "loadBalancerClass");
        if balanced {
            faults.each(&field, class, names::label_key(class));
        } else {
            faults.forbidden(field, ONLY_LOAD_BALANCER);
        }
    }
    traffic_policy(spec, &at, faults);
    for (index, ip) in list(spec, "externalIPs").iter().enumerate() {
        let ip = ip.as_str().unwrap_or_default();
        faults.each(&at.child("externalIPs").index(index), ip, special(ip));
    }
}

fn source_ranges(service: &Value, at: &Path, faults: &mut Faults) {
    let spec = &service["spec"];
    let ranges = list(spec, "loadBalancerSourceRanges");
    let annotation = service["metadata"]["annotations"][SOURCE_RANGES].as_str();
    // Upstream spells this field with a capital letter here.
    let field = at.child("LoadBalancerSourceRanges");
    let annotated = Path::root("metadata").child("annotations");
    let annotated = annotated.key(SOURCE_RANGES);
    let (said, place) = match (ranges, annotation) {
        ([], None) => return,
        ([], Some(text)) => {
            let ranges = text.split(',').map(str::trim).filter(|one| !one.is_empty());
            let ranges = ranges.map(|one| (annotated.clone(), one.to_owned()));
            (ranges.collect::<Vec<_>>(), annotated)
        }
        (ranges, _) => {
            let texts = ranges
                .iter()
                .map(|one| one.as_str().unwrap_or_default().trim());
            let ranges = texts.enumerate();
            let ranges = ranges.map(|(index, one)| (field.index(index), one.to_owned()));
            (ranges.collect(), field)
        }
    };
    if text(spec, "type") != "LoadBalancer" {
        faults.forbidden(place, ONLY_LOAD_BALANCER);
    }
    for (place, range) in said {
        faults.each(&place, &range, names::cidr(&range));
    }
}

fn traffic_policy(spec: &Value, at: &Path, faults: &mut Faults) {
    let kind = text(spec, "type");
    let policy = text(spec, "externalTrafficPolicy");
    let external = match kind {
        "NodePort" | "LoadBalancer" => true,
        "ClusterIP" => !list(spec, "externalIPs").is_empty(),
        _ => false,
    };
    if !external && !policy.is_empty() {
        faults.invalid(
            at.child("externalTrafficPolicy"),
            &spec["externalTrafficPolicy"],
            "may only be set for externally-accessible services",
        );
    }
    let port = spec["healthCheckNodePort"].as_i64().unwrap_or(0);
    let field = at.child("healthCheckNodePort");
    if kind == "LoadBalancer" && policy == "Local" {
        if port == 0 {
            faults.required(field, "");
        } else {
            for message in names::port_number(port) {
                faults.invalid(field.clone(), &port.into(), message);
            }
        }
    } else if port != 0 {
        let detail =
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        faults.invalid(field, &port.into(), detail);
    }
}

/// Addresses that cannot be a Service's, however well formed.
fn special(ip: &str) -> Vec<String> {
    let Ok(ip) = ip.parse::<IpAddr>() else {
        return Vec::new();
    };
    let (local, multicast) = match ip {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(ip) => (
            ip.is_unicast_link_local(),
            ip.segments()[0] & 0xff0f == 0xff02,
        ),
    };
    let wrong = [
        (
            ip.is_unspecified(),
            "may not be unspecified (0.0.0.0 or ::)",
        ),
        (
            ip.is_loopback(),
            "may not be in the loopback range (127.0.0.0/8, ::1/128)",
        ),
        (
            local,
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
        ),
        (
            multicast,
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
        ),
    ];
    let found = wrong.iter().filter(|(wrong, _)| *wrong);
    found.map(|(_, message)| (*message).to_owned()).collect()
}

pub(super) fn changes(old: &Value, new: &Value, faults: &mut Faults) {
    let checked = |spec: &Value| {
        text(spec, "type") == "LoadBalancer" && text(spec, "externalTrafficPolicy") == "Local"
    };
    let port = |spec: &Value| spec["healthCheckNodePort"].as_i64().unwrap_or(0);
    if checked(old) && checked(new) && port(old) != port(new) {
        let field = Path::root("spec").child("healthCheckNodePort");
        faults.forbidden(field, "field is immutable");
    }
}

/// `status.loadBalancer`, as its subresource may write it.
pub(super) fn status(service: &Value, faults: &mut Faults) {
    let at = Path::root("status").child("loadBalancer").child("ingress");
    let ingress = list(&service["status"]["loadBalancer"], "ingress");
    if ingress.is_empty() {
        return;
    }
    if text(&service["spec"], "type") != "LoadBalancer" {
        let detail = "may only be used when `spec.type` is \"LoadBalancer\"";
        return faults.forbidden(at, detail);
    }
    for (index, point) in ingress.iter().enumerate() {
        let here = at.index(index);
        let (ip, name, mode) = (
            text(point, "ip"),
            text(point, "hostname"),
            text(point, "ipMode"),
        );
        if !ip.is_empty() {
            faults.each(&here.child("ip"), ip, names::ip_address(ip));
            if mode.is_empty() {
                faults.required(here.child("ipMode"), "must be specified when `ip` is set");
            }
        } else if !mode.is_empty() {
            let detail = "may not be specified when `ip` is not set";
            faults.forbidden(here.child("ipMode"), detail);
        }
        faults.one_of(point, "ipMode", &["Proxy", "VIP"], &here);
        if !name.is_empty() {
            faults.each(&here.child("hostname"), name, names::dns_subdomain(name));
            if name.parse::<IpAddr>().is_ok() {
                faults.invalid(
                    here.child("hostname"),
                    &point["hostname"],
                    "must be a DNS name, not an IP address",
                );
            }
        }
    }
}
