//! Pods and pod templates (`pkg/apis/core/v1/defaults.go`).

use serde_json::{Value, json};

use super::{items, set, set_below, set_text};

const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
/// Mode 0644.
const FILE_MODE: i64 = 0o644;
/// Seconds before a projected token expires.
const TOKEN_EXPIRATION_S: i64 = 3600;

/// A Pod has a few defaults that a template has not.
pub(super) fn pod(pod: &mut Value) {
    let spec = &mut pod["spec"];
    spec_defaults(spec);
    set(spec, "enableServiceLinks", true);
    let on_host = spec["hostNetwork"] == true;
    for list in CONTAINER_LISTS {
        for container in items(spec, list) {
            requests_from_limits(container);
            if on_host {
                for port in items(container, "ports") {
                    let number = port["containerPort"].clone();
                    set(port, "hostPort", number);
                }
            }
        }
    }
}

pub(super) fn template(template: &mut Value) {
    if template["spec"].is_object() {
        spec_defaults(&mut template["spec"]);
    }
}

fn spec_defaults(spec: &mut Value) {
    set_text(spec, "dnsPolicy", "ClusterFirst");
    set_text(spec, "restartPolicy", "Always");
    set_text(spec, "schedulerName", "default-scheduler");
    set(spec, "securityContext", json!({}));
    set(spec, "terminationGracePeriodSeconds", 30);
    // The deprecated name is an alias.
    for (from, to) in [
        ("serviceAccountName", "serviceAccount"),
        ("serviceAccount", "serviceAccountName"),
    ] {
        if let Some(name) = spec[from]
            .as_str()
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
        {
            set_text(spec, to, &name);
        }
    }
    for list in CONTAINER_LISTS {
        items(spec, list).for_each(container);
    }
    items(spec, "volumes").for_each(volume);
}

fn container(container: &mut Value) {
    let policy = pull_policy(container["image"].as_str().unwrap_or_default());
    set_text(container, "imagePullPolicy", policy);
    set_text(container, "terminationMessagePath", "/dev/termination-log");
    set_text(container, "terminationMessagePolicy", "File");
    items(container, "ports").for_each(|port| set_text(port, "protocol", "TCP"));
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if container[name].is_object() {
            probe(&mut container[name]);
        }
    }
    for hook in ["postStart", "preStop"] {
        if container["lifecycle"][hook]["httpGet"].is_object() {
            http_get(&mut container["lifecycle"][hook]["httpGet"]);
        }
    }
    for variable in items(container, "env") {
        if variable["valueFrom"]["fieldRef"].is_object() {
            set_text(&mut variable["valueFrom"]["fieldRef"], "apiVersion", "v1");
        }
    }
}

/// `Always` for `latest` and for images without tag or digest.
fn pull_policy(image: &str) -> &'static str {
    let name = image.rsplit('/').next().unwrap_or_default();
    let pinned =
        image.contains('@') || name.split_once(':').is_some_and(|(_, tag)| tag != "latest");
    if pinned { "IfNotPresent" } else { "Always" }
}

fn probe(probe: &mut Value) {
    for (name, value) in [
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ] {
        if probe[name].as_i64().unwrap_or(0) == 0 {
            probe[name] = value.into();
        }
    }
    if probe["httpGet"].is_object() {
        http_get(&mut probe["httpGet"]);
    }
    set_below(probe, "grpc", "service", "");
}

fn http_get(action: &mut Value) {
    set_text(action, "path", "/");
    set_text(action, "scheme", "HTTP");
}

fn requests_from_limits(container: &mut Value) {
    let limits = container["resources"]["limits"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    for (name, limit) in limits {
        set(&mut container["resources"], "requests", json!({}));
        set(&mut container["resources"]["requests"], &name, limit);
    }
}

fn volume(volume: &mut Value) {
    let sources = volume.as_object().map_or(0, serde_json::Map::len);
    if sources == 1 && volume["name"].is_string() {
        volume["emptyDir"] = json!({});
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        set_below(volume, source, "defaultMode", FILE_MODE);
    }
    if volume["downwardAPI"].is_object() {
        field_refs(&mut volume["downwardAPI"]);
    }
    set_below(volume, "hostPath", "type", "");
    if volume["projected"].is_object() {
        for source in items(&mut volume["projected"], "sources") {
            if source["serviceAccountToken"].is_object() {
                set(
                    &mut source["serviceAccountToken"],
                    "expirationSeconds",
                    TOKEN_EXPIRATION_S,
                );
            }
            if source["downwardAPI"].is_object() {
                field_refs(&mut source["downwardAPI"]);
            }
        }
    }
    if volume["ephemeral"]["volumeClaimTemplate"]["spec"].is_object() {
        set(
            &mut volume["ephemeral"]["volumeClaimTemplate"]["spec"],
            "volumeMode",
            "Filesystem",
        );
    }
}

fn field_refs(downward: &mut Value) {
    for item in items(downward, "items") {
        if item["fieldRef"].is_object() {
            set_text(&mut item["fieldRef"], "apiVersion", "v1");
        }
    }
}
