//! Kinds with few rules: ConfigMap, EndpointSlice, Lease, Event.

use serde_json::Value;

use super::faults::{Faults, Path, list, text};
use super::names;

/// Bytes of all values together.
const MAX_CONFIG_MAP_BYTES: usize = 1 << 20;
const MAX_ENDPOINTS: usize = 1000;
const MAX_ENDPOINT_ADDRESSES: usize = 100;
const MAX_ENDPOINT_PORTS: usize = 20_000;

pub(super) fn config_map(map: &Value, faults: &mut Faults) {
    let (data, binary) = (Path::root("data"), Path::root("binaryData"));
    let bytes = config_keys(&map["data"], &data, faults)
        + config_keys(&map["binaryData"], &binary, faults) / 4 * 3;
    for key in map["binaryData"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| key)
    {
        if map["data"].get(key).is_some() {
            faults.invalid(
                data.key(key),
                &key.as_str().into(),
                "duplicate of key present in binaryData",
            );
        }
    }
    if bytes > MAX_CONFIG_MAP_BYTES {
        faults.too_long(Path::default(), MAX_CONFIG_MAP_BYTES);
    }
}

/// Checks the keys; answers with the length of the values as they are written.
pub(super) fn config_keys(data: &Value, at: &Path, faults: &mut Faults) -> usize {
    let mut length = 0;
    for (key, value) in data.as_object().into_iter().flatten() {
        faults.each(&at.key(key), key, names::config_key(key));
        length += value.as_str().map_or(0, str::len);
    }
    length
}

/// `immutable: true` cannot be taken back and covers these members.
pub(super) fn frozen(old: &Value, new: &Value, members: &[&str], faults: &mut Faults) {
    if old["immutable"] != true {
        return;
    }
    if new["immutable"] != true {
        faults.forbidden(
            Path::root("immutable"),
            "field is immutable when `immutable` is set",
        );
    }
    for name in members.iter().filter(|name| old[**name] != new[**name]) {
        faults.forbidden(
            Path::root(name),
            "field is immutable when `immutable` is set",
        );
    }
}

pub(super) fn endpoint_slice(slice: &Value, faults: &mut Faults) {
    let address_type = text(slice, "addressType");
    if address_type.is_empty() {
        faults.required(Path::root("addressType"), "");
    }
    faults.one_of(
        slice,
        "addressType",
        &["FQDN", "IPv4", "IPv6"],
        &Path::default(),
    );
    let endpoints = list(slice, "endpoints");
    if endpoints.len() > MAX_ENDPOINTS {
        return faults.too_many(Path::root("endpoints"), endpoints.len(), MAX_ENDPOINTS);
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let at = Path::root("endpoints").index(index).child("addresses");
        let addresses = list(endpoint, "addresses");
        if addresses.is_empty() {
            faults.required(at, "must contain at least 1 address");
            continue;
        }
        if addresses.len() > MAX_ENDPOINT_ADDRESSES {
            faults.too_many(at, addresses.len(), MAX_ENDPOINT_ADDRESSES);
            continue;
        }
        for (index, address) in addresses.iter().enumerate() {
            let address = address.as_str().unwrap_or_default();
            let messages = match address_type {
                "FQDN" => names::dns_subdomain(address),
                "IPv4" if address.contains(':') => vec!["must be an IPv4 address".to_owned()],
                "IPv6" if !address.contains(':') => vec!["must be an IPv6 address".to_owned()],
                _ => names::ip_address(address),
            };
            faults.each(&at.index(index), address, messages);
        }
    }
    endpoint_ports(list(slice, "ports"), faults);
}

fn endpoint_ports(ports: &[Value], faults: &mut Faults) {
    let at = Path::root("ports");
    if ports.len() > MAX_ENDPOINT_PORTS {
        return faults.too_many(at, ports.len(), MAX_ENDPOINT_PORTS);
    }
    let mut seen = std::collections::BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let here = at.index(index);
        let name = text(port, "name");
        if !name.is_empty() {
            faults.each(&here.child("name"), name, names::dns_label(name));
        }
        if !seen.insert(name) {
            faults.duplicate(here.child("name"), &name.into());
        }
        faults.one_of(port, "protocol", &["SCTP", "TCP", "UDP"], &here);
    }
}

pub(super) fn lease(lease: &Value, faults: &mut Faults) {
    let spec = &lease["spec"];
    let at = Path::root("spec");
    let duration = &spec["leaseDurationSeconds"];
    if duration.as_i64().is_some_and(|seconds| seconds <= 0) {
        faults.invalid(
            at.child("leaseDurationSeconds"),
            duration,
            "must be greater than 0",
        );
    }
    faults.non_negative(spec, "leaseTransitions", &at);
}

pub(super) fn event(event: &Value, faults: &mut Faults) {
    let involved = &event["involvedObject"];
    let namespace = text(involved, "namespace");
    let own = text(&event["metadata"], "namespace");
    // Events of cluster objects stand in the default namespace.
    let fits = namespace == own || (namespace.is_empty() && own == "default");
    if !fits {
        let at = Path::root("involvedObject").child("namespace");
        faults.invalid(at, &namespace.into(), "does not match event.namespace");
    }
}
