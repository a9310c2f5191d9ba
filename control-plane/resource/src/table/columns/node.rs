//! Nodes.

use serde_json::{Value, json};

use crate::table::cell::{NONE, UNKNOWN, array, at, condition, or, string, string_or};
use crate::table::{AGE, Column, NAME, text, wide};

pub(crate) const COLUMNS: &[Column] = &[
    NAME,
    text("Status", "Whether it takes pods.", |o, _| json!(status(o))),
    text("Roles", "Roles by label.", |o, _| json!(roles(o))),
    AGE,
    text("Version", "Version of its kubelet.", |o, _| {
        string(o, "/status/nodeInfo/kubeletVersion")
    }),
    wide("Internal-IP", "Address inside the cluster.", |o, _| {
        json!(address(o, "InternalIP"))
    }),
    wide("External-IP", "Address from outside.", |o, _| {
        json!(address(o, "ExternalIP"))
    }),
    wide("OS-Image", "Operating system.", |o, _| {
        string_or(o, "/status/nodeInfo/osImage", UNKNOWN)
    }),
    wide("Kernel-Version", "Kernel.", |o, _| {
        string_or(o, "/status/nodeInfo/kernelVersion", UNKNOWN)
    }),
    wide("Container-Runtime", "Container runtime.", |o, _| {
        string_or(o, "/status/nodeInfo/containerRuntimeVersion", UNKNOWN)
    }),
];

fn status(node: &Value) -> String {
    let ready = match condition(node, "Ready").map(|c| at(c, "/status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    match node.pointer("/spec/unschedulable") {
        Some(Value::Bool(true)) => format!("{ready},SchedulingDisabled"),
        _ => ready.to_owned(),
    }
}

fn roles(node: &Value) -> String {
    let Some(Value::Object(labels)) = node.pointer("/metadata/labels") else {
        return NONE.to_owned();
    };
    let mut roles: Vec<&str> = labels
        .iter()
        .filter_map(
            |(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
                Some(role) => Some(role).filter(|r| !r.is_empty()),
                None if key == "kubernetes.io/role" => value.as_str(),
                None => None,
            },
        )
        .collect();
    roles.sort_unstable();
    roles.dedup();
    or(&roles.join(","), NONE).to_owned()
}

fn address<'a>(node: &'a Value, wanted: &str) -> &'a str {
    let found = array(node, "/status/addresses")
        .iter()
        .find(|a| at(a, "/type") == wanted);
    found.map_or(NONE, |a| at(a, "/address"))
}
