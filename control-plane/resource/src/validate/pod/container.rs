//! One container.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::faults::{Faults, Path, list, text};
use super::super::names;
use super::probe;
use crate::codec::quantity::Quantity;

/// `volumes` maps the pod's volume names to whether they are claims with raw blocks.
pub(super) fn check(
    container: &Value,
    init: bool,
    on_host: bool,
    volumes: &BTreeSet<&str>,
    at: &Path,
    faults: &mut Faults,
) {
    let name = text(container, "name");
    if name.is_empty() {
        faults.required(at.child("name"), "");
    } else {
        faults.each(&at.child("name"), name, names::dns_label(name));
    }
    let image = text(container, "image");
    if image.is_empty() {
        faults.required(at.child("image"), "");
    } else if image.trim() != image {
        let detail = "must not have leading or trailing whitespace";
        faults.invalid(at.child("image"), &container["image"], detail);
    }
    let policies = ["Always", "IfNotPresent", "Never"];
    faults.one_of(container, "imagePullPolicy", &policies, at);
    let messages = ["FallbackToLogsOnError", "File"];
    faults.one_of(container, "terminationMessagePolicy", &messages, at);
    ports(
        list(container, "ports"),
        on_host,
        &at.child("ports"),
        faults,
    );
    environment(list(container, "env"), &at.child("env"), faults);
    sources(list(container, "envFrom"), &at.child("envFrom"), faults);
    mounts(
        list(container, "volumeMounts"),
        volumes,
        &at.child("volumeMounts"),
        faults,
    );
    resources(&container["resources"], &at.child("resources"), faults);
    if init && text(container, "restartPolicy").is_empty() {
        for name in [
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
            "lifecycle",
        ] {
            if !container[name].is_null() {
                faults.forbidden(
                    at.child(name),
                    "may not be set for init containers without restartPolicy=Always",
                );
            }
        }
        return;
    }
    probe::all(container, at, faults);
}

fn ports(ports: &[Value], on_host: bool, at: &Path, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let here = at.index(index);
        let name = text(port, "name");
        if !name.is_empty() {
            let messages = names::port_name(name);
            if messages.is_empty() && !seen.insert(name) {
                faults.duplicate(here.child("name"), &port["name"]);
            }
            faults.each(&here.child("name"), name, messages);
        }
        match port["containerPort"].as_i64().unwrap_or(0) {
            0 => faults.required(here.child("containerPort"), ""),
            number => number_range(
                &port["containerPort"],
                number,
                here.child("containerPort"),
                faults,
            ),
        }
        let host = port["hostPort"].as_i64().unwrap_or(0);
        if host != 0 {
            number_range(&port["hostPort"], host, here.child("hostPort"), faults);
            if on_host && port["hostPort"] != port["containerPort"] {
                let detail = "must match `containerPort` when `hostNetwork` is true";
                faults.invalid(here.child("hostPort"), &port["hostPort"], detail);
            }
        }
        if text(port, "protocol").is_empty() {
            faults.required(here.child("protocol"), "");
        } else {
            faults.one_of(port, "protocol", &["SCTP", "TCP", "UDP"], &here);
        }
    }
}

fn number_range(value: &Value, number: i64, at: Path, faults: &mut Faults) {
    for message in names::port_number(number) {
        faults.invalid(at.clone(), value, message);
    }
}

fn environment(variables: &[Value], at: &Path, faults: &mut Faults) {
    for (index, variable) in variables.iter().enumerate() {
        let here = at.index(index);
        let name = text(variable, "name");
        if name.is_empty() {
            faults.required(here.child("name"), "");
        } else {
            faults.each(&here.child("name"), name, names::env_name(name));
        }
        if variable["valueFrom"].is_object() {
            value_from(variable, &here.child("valueFrom"), faults);
        }
    }
}

fn value_from(variable: &Value, at: &Path, faults: &mut Faults) {
    let source = &variable["valueFrom"];
    let set = source.as_object().map_or(0, serde_json::Map::len);
    if set == 0 {
        let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
        faults.invalid(at.clone(), &"".into(), detail);
    } else if !text(variable, "value").is_empty() {
        faults.invalid(
            at.clone(),
            &"".into(),
            "may not be specified when `value` is not empty",
        );
    } else if set > 1 {
        faults.invalid(
            at.clone(),
            &"".into(),
            "may not have more than one field specified at a time",
        );
    }
    for name in ["configMapKeyRef", "secretKeyRef"] {
        let reference = &source[name];
        if !reference.is_object() {
            continue;
        }
        let here = at.child(name);
        if text(reference, "name").is_empty() {
            faults.required(here.child("name"), "");
        }
        match text(reference, "key") {
            "" => faults.required(here.child("key"), ""),
            key => faults.each(&here.child("key"), key, names::config_key(key)),
        }
    }
    if source["fieldRef"].is_object() && text(&source["fieldRef"], "fieldPath").is_empty() {
        faults.required(at.child("fieldRef").child("fieldPath"), "");
    }
    if source["resourceFieldRef"].is_object()
        && text(&source["resourceFieldRef"], "resource").is_empty()
    {
        faults.required(at.child("resourceFieldRef").child("resource"), "");
    }
}

fn sources(sources: &[Value], at: &Path, faults: &mut Faults) {
    for (index, source) in sources.iter().enumerate() {
        let here = at.index(index);
        let given: Vec<&str> = ["configMapRef", "secretRef"]
            .into_iter()
            .filter(|name| source[*name].is_object())
            .collect();
        match given.as_slice() {
            [] => faults.invalid(
                here,
                &"".into(),
                "must specify one of: `configMapRef` or `secretRef`",
            ),
            [one] => {
                if text(&source[*one], "name").is_empty() {
                    faults.required(here.child(one).child("name"), "");
                }
            }
            _ => faults.invalid(
                here,
                &"".into(),
                "may not have more than one field specified at a time",
            ),
        }
    }
}

fn mounts(mounts: &[Value], volumes: &BTreeSet<&str>, at: &Path, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    for (index, mount) in mounts.iter().enumerate() {
        let here = at.index(index);
        let name = text(mount, "name");
        if name.is_empty() {
            faults.required(here.child("name"), "");
        } else if !volumes.contains(name) {
            faults.not_found(here.child("name"), &mount["name"]);
        }
        let path = text(mount, "mountPath");
        if path.is_empty() {
            faults.required(here.child("mountPath"), "");
        } else if !seen.insert(path) {
            faults.invalid(
                here.child("mountPath"),
                &mount["mountPath"],
                "must be unique",
            );
        }
        local_path(mount, "subPath", &here, faults);
        local_path(mount, "subPathExpr", &here, faults);
    }
}

/// A path that stays below the volume.
fn local_path(mount: &Value, name: &str, at: &Path, faults: &mut Faults) {
    let path = text(mount, name);
    if path.starts_with('/') {
        faults.invalid(at.child(name), &mount[name], "must be a relative path");
    }
    if path.split('/').any(|part| part == "..") {
        faults.invalid(at.child(name), &mount[name], "must not contain '..'");
    }
}

fn resources(resources: &Value, at: &Path, faults: &mut Faults) {
    let mut limits: BTreeMap<&str, Quantity> = BTreeMap::new();
    for name in ["limits", "requests"] {
        for (resource, value) in resources[name].as_object().into_iter().flatten() {
            let here = at.child(name).key(resource);
            faults.each(&at.child(name), resource, names::label_key(resource));
            let Some(amount) = value.as_str().and_then(Quantity::parse) else {
                continue;
            };
            if amount.is_negative() {
                faults.invalid(here, value, "must be greater than or equal to 0");
            } else if name == "limits" {
                limits.insert(resource, amount);
            } else if let Some(limit) = limits
                .get(resource.as_str())
                .filter(|limit| amount > **limit)
            {
                let detail = format!(
                    "must be less than or equal to {resource} limit of {}",
                    limit.canonical()
                );
                faults.invalid(at.child("requests"), value, detail);
            }
        }
    }
}
