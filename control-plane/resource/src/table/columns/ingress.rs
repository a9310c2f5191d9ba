//! Ingress, IngressClass, EndpointSlice.

use serde_json::{Value, json};

use crate::table::cell::{
    NONE, UNSET, array, at, integer_at, length, load_balancer, shortened, string, string_or,
};
use crate::table::{AGE, Column, NAME, text};

pub(crate) const INGRESS: &[Column] = &[
    NAME,
    text("Class", "The IngressClass that serves it.", |o, _| {
        string_or(o, "/spec/ingressClassName", NONE)
    }),
    text("Hosts", "Hosts it routes.", |o, _| json!(hosts(o))),
    text("Address", "Where it is served.", |o, _| {
        json!(load_balancer(o))
    }),
    text("Ports", "Ports it is served on.", |o, _| {
        json!(if length(o, "/spec/tls") > 0 {
            "80, 443"
        } else {
            "80"
        })
    }),
    AGE,
];

pub(crate) const INGRESS_CLASS: &[Column] = &[
    NAME,
    text(
        "Controller",
        "The controller that serves the class.",
        |o, _| string(o, "/spec/controller"),
    ),
    text(
        "Parameters",
        "The object that configures the class.",
        |o, _| json!(parameters(o)),
    ),
    AGE,
];

pub(crate) const ENDPOINT_SLICE: &[Column] = &[
    NAME,
    text("AddressType", "Family of the addresses.", |o, _| {
        string(o, "/addressType")
    }),
    text("Ports", "Ports of every endpoint.", |o, _| {
        json!(slice_ports(o))
    }),
    text("Endpoints", "Addresses.", |o, _| {
        let addresses = array(o, "/endpoints")
            .iter()
            .flat_map(|e| array(e, "/addresses"));
        let texts: Vec<String> = addresses
            .filter_map(|a| a.as_str().map(str::to_owned))
            .collect();
        json!(shortened(&texts, 3, UNSET))
    }),
    AGE,
];

/// Counts rules, not hosts, in "more", as upstream does.
fn hosts(ingress: &Value) -> String {
    const SHOWN: usize = 3;
    let rules = array(ingress, "/spec/rules");
    let mut shown: Vec<&str> = Vec::new();
    let mut more = false;
    for rule in rules {
        more |= shown.len() == SHOWN;
        let host = at(rule, "/host");
        if !more && !host.is_empty() {
            shown.push(host);
        }
    }
    match shown.join(",") {
        text if text.is_empty() => "*".to_owned(),
        text if more => format!("{text} + {} more...", rules.len() - SHOWN),
        text => text,
    }
}

fn parameters(class: &Value) -> String {
    let Some(reference) = class.pointer("/spec/parameters") else {
        return NONE.to_owned();
    };
    let (kind, name) = (at(reference, "/kind"), at(reference, "/name"));
    match at(reference, "/apiGroup") {
        "" => format!("{kind}/{name}"),
        group => format!("{kind}.{group}/{name}"),
    }
}

fn slice_ports(slice: &Value) -> String {
    let texts: Vec<String> = array(slice, "/ports")
        .iter()
        .map(|port| match integer_at(port, "/port") {
            0 => "*".to_owned(),
            number => number.to_string(),
        })
        .collect();
    shortened(&texts, 3, UNSET)
}
