//! Kinds of the core group that need little.

use serde_json::{Value, json};

use crate::table::cell::{array, at, integer_at, length, shortened, string};
use crate::table::{AGE, CREATED_AT, Column, NAME, integer, text};

pub(crate) const CONFIG_MAP: &[Column] = &[
    NAME,
    integer("Data", "Number of keys.", |o, _| {
        json!(length(o, "/data") + length(o, "/binaryData"))
    }),
    AGE,
];

pub(crate) const SECRET: &[Column] = &[
    NAME,
    text("Type", "What the data are for.", |o, _| string(o, "/type")),
    integer("Data", "Number of keys.", |o, _| json!(length(o, "/data"))),
    AGE,
];

pub(crate) const SERVICE_ACCOUNT: &[Column] = &[
    NAME,
    integer("Secrets", "Number of Secrets that pods may use.", |o, _| {
        json!(length(o, "/secrets"))
    }),
    AGE,
];

pub(crate) const NAMESPACE: &[Column] = &[
    NAME,
    text("Status", "Phase of the namespace.", |o, _| {
        string(o, "/status/phase")
    }),
    AGE,
];

pub(crate) const LIMIT_RANGE: &[Column] = &[NAME, CREATED_AT];

pub(crate) const RESOURCE_QUOTA: &[Column] = &[
    NAME,
    text("Request", "Used and hard amounts.", |o, _| {
        json!(quota(o, false))
    }),
    text("Limit", "Used and hard amounts of limits.", |o, _| {
        json!(quota(o, true))
    }),
    AGE,
];

pub(crate) const ENDPOINTS: &[Column] = &[
    NAME,
    text("Endpoints", "Addresses with ports.", |o, _| {
        let texts: Vec<String> = array(o, "/subsets").iter().flat_map(subset).collect();
        json!(shortened(&texts, 3, "<none>"))
    }),
    AGE,
];

fn subset(subset: &Value) -> Vec<String> {
    let addresses = array(subset, "/addresses").iter().map(|a| at(a, "/ip"));
    let ports = array(subset, "/ports");
    if ports.is_empty() {
        return addresses.map(str::to_owned).collect();
    }
    let pairs = addresses.flat_map(|ip| {
        ports.iter().map(move |port| {
            let port = integer_at(port, "/port");
            if ip.contains(':') {
                format!("[{ip}]:{port}")
            } else {
                format!("{ip}:{port}")
            }
        })
    });
    pairs.collect()
}

fn quota(object: &Value, limits: bool) -> String {
    let Some(Value::Object(hard)) = object.pointer("/status/hard") else {
        return String::new();
    };
    let used = |name: &str| {
        object
            .pointer("/status/used")
            .and_then(|u| u.get(name))
            .and_then(Value::as_str)
            .unwrap_or("0")
            .to_owned()
    };
    let entries = hard
        .iter()
        .filter(|(name, _)| name.starts_with("limits.") == limits)
        .map(|(name, value)| {
            format!(
                "{name}: {}/{}",
                used(name),
                value.as_str().unwrap_or_default()
            )
        });
    entries.collect::<Vec<_>>().join(", ")
}
