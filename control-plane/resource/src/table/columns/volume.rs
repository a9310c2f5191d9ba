//! PersistentVolumes and their claims.

use serde_json::{Value, json};

use crate::table::cell::{UNSET, array, at, string, string_or};
use crate::table::{AGE, Column, NAME, text, wide};

pub(crate) const VOLUME: &[Column] = &[
    NAME,
    text("Capacity", "Size.", |o, _| {
        string(o, "/spec/capacity/storage")
    }),
    text("Access Modes", "Ways to mount it.", |o, _| {
        json!(access_modes(o, "/spec/accessModes"))
    }),
    text("Reclaim Policy", "What happens after release.", |o, _| {
        string(o, "/spec/persistentVolumeReclaimPolicy")
    }),
    text("Status", "Phase.", |o, _| json!(phase(o))),
    text("Claim", "The claim bound to it.", |o, _| json!(claim(o))),
    text("StorageClass", "Storage class.", |o, _| {
        string(o, "/spec/storageClassName")
    }),
    text("VolumeAttributesClass", "Attributes class.", |o, _| {
        string_or(o, "/spec/volumeAttributesClassName", UNSET)
    }),
    text("Reason", "Why it is in its phase.", |o, _| {
        string(o, "/status/reason")
    }),
    AGE,
    wide("VolumeMode", "Filesystem or Block.", |o, _| {
        string_or(o, "/spec/volumeMode", UNSET)
    }),
];

pub(crate) const CLAIM: &[Column] = &[
    NAME,
    text("Status", "Phase.", |o, _| json!(phase(o))),
    text("Volume", "The volume bound to it.", |o, _| {
        string(o, "/spec/volumeName")
    }),
    text("Capacity", "Size.", |o, _| {
        string(o, "/status/capacity/storage")
    }),
    text("Access Modes", "Ways to mount it.", |o, _| {
        json!(access_modes(o, "/status/accessModes"))
    }),
    text("StorageClass", "Storage class.", |o, _| {
        string(o, "/spec/storageClassName")
    }),
    text("VolumeAttributesClass", "Attributes class.", |o, _| {
        string_or(o, "/spec/volumeAttributesClassName", UNSET)
    }),
    AGE,
    wide("VolumeMode", "Filesystem or Block.", |o, _| {
        string_or(o, "/spec/volumeMode", UNSET)
    }),
];

fn phase(object: &Value) -> &str {
    if object.pointer("/metadata/deletionTimestamp").is_some() {
        return "Terminating";
    }
    at(object, "/status/phase")
}

fn claim(volume: &Value) -> String {
    match at(volume, "/spec/claimRef/name") {
        "" => String::new(),
        name => format!("{}/{name}", at(volume, "/spec/claimRef/namespace")),
    }
}

fn access_modes(object: &Value, pointer: &str) -> String {
    let short = array(object, pointer)
        .iter()
        .filter_map(|mode| match mode.as_str()? {
            "ReadWriteOnce" => Some("RWO"),
            "ReadOnlyMany" => Some("ROX"),
            "ReadWriteMany" => Some("RWX"),
            "ReadWriteOncePod" => Some("RWOP"),
            _ => None,
        });
    short.collect::<Vec<_>>().join(",")
}
