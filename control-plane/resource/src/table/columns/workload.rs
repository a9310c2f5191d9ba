//! Deployments, ReplicaSets and other kinds around pods.

use serde_json::{Value, json};

use crate::table::cell::{array, at, containers, integer_at, label_selector, labels, string};
use crate::table::{AGE, Column, NAME, integer, text, wide};

pub(crate) const DEPLOYMENT: &[Column] = &[
    NAME,
    text("Ready", "Ready pods of those wanted.", |o, _| {
        let ready = integer_at(o, "/status/readyReplicas");
        json!(format!("{ready}/{}", integer_at(o, "/spec/replicas")))
    }),
    integer("Up-to-date", "Pods of the present template.", |o, _| {
        json!(integer_at(o, "/status/updatedReplicas"))
    }),
    integer("Available", "Pods ready for long enough.", |o, _| {
        json!(integer_at(o, "/status/availableReplicas"))
    }),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub(crate) const REPLICA_SET: &[Column] = &[
    NAME,
    integer("Desired", "Pods wanted.", |o, _| {
        json!(integer_at(o, "/spec/replicas"))
    }),
    integer("Current", "Pods there are.", |o, _| {
        json!(integer_at(o, "/status/replicas"))
    }),
    integer("Ready", "Pods that are ready.", |o, _| {
        json!(integer_at(o, "/status/readyReplicas"))
    }),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

pub(crate) const CONTROLLER_REVISION: &[Column] = &[
    NAME,
    text("Controller", "The object whose revision it is.", |o, _| {
        json!(controller(o))
    }),
    integer("Revision", "Number of the revision.", |o, _| {
        json!(integer_at(o, "/revision"))
    }),
    AGE,
];

pub(crate) const POD_TEMPLATE: &[Column] = &[
    NAME,
    text("Containers", "Names of the containers.", |o, _| {
        containers(o, "/template/spec/containers", "name")
    }),
    text("Images", "Images of the containers.", |o, _| {
        containers(o, "/template/spec/containers", "image")
    }),
    text("Pod Labels", "Labels of its pods.", |o, _| {
        json!(labels(o, "/template/metadata/labels"))
    }),
];

pub(crate) const PRIORITY_CLASS: &[Column] = &[
    NAME,
    integer("Value", "The priority.", |o, _| {
        json!(integer_at(o, "/value"))
    }),
    Column {
        value_type: "boolean",
        ..text(
            "Global-Default",
            "Whether pods without a class get it.",
            |o, _| json!(o.get("globalDefault") == Some(&Value::Bool(true))),
        )
    },
    AGE,
    text(
        "PreemptionPolicy",
        "Whether it displaces pods of lower priority.",
        |o, _| string(o, "/preemptionPolicy"),
    ),
];

pub(crate) const LEASE: &[Column] = &[
    NAME,
    text("Holder", "Who holds it.", |o, _| {
        string(o, "/spec/holderIdentity")
    }),
    AGE,
];

const CONTAINERS: Column = wide("Containers", "Names of the containers.", |o, _| {
    containers(o, "/spec/template/spec/containers", "name")
});
const IMAGES: Column = wide("Images", "Images of the containers.", |o, _| {
    containers(o, "/spec/template/spec/containers", "image")
});
const SELECTOR: Column = wide("Selector", "The pods it owns.", |o, _| {
    json!(label_selector(o, "/spec/selector"))
});

/// `deployment.apps/web`
fn controller(object: &Value) -> String {
    let owners = array(object, "/metadata/ownerReferences");
    let Some(owner) = owners
        .iter()
        .find(|o| o.get("controller") == Some(&Value::Bool(true)))
    else {
        return "<none>".to_owned();
    };
    let kind = at(owner, "/kind").to_lowercase();
    match at(owner, "/apiVersion").split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{}", at(owner, "/name")),
        None => format!("{kind}/{}", at(owner, "/name")),
    }
}
