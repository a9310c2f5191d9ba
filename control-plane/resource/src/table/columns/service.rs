//! Services.

use serde_json::{Value, json};

use crate::table::cell::{NONE, array, at, integer_at, labels, load_balancer, or, string};
use crate::table::{AGE, Column, NAME, text, wide};

pub(crate) const COLUMNS: &[Column] = &[
    NAME,
    text("Type", "How it is reached.", |o, _| string(o, "/spec/type")),
    text("Cluster-IP", "Address inside the cluster.", |o, _| {
        let ip = or(at(o, "/spec/clusterIPs/0"), at(o, "/spec/clusterIP"));
        json!(or(ip, NONE))
    }),
    text("External-IP", "Address from outside.", |o, _| {
        json!(external_ip(o))
    }),
    text(
        "Port(s)",
        "Ports, with node ports and protocols.",
        |o, _| json!(ports(o)),
    ),
    AGE,
    wide("Selector", "The pods behind it.", |o, _| {
        json!(labels(o, "/spec/selector"))
    }),
];

fn external_ip(service: &Value) -> String {
    let given: Vec<&str> = array(service, "/spec/externalIPs")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    match at(service, "/spec/type") {
        "ExternalName" => at(service, "/spec/externalName").to_owned(),
        "LoadBalancer" => {
            let balanced = load_balancer(service);
            let all: Vec<&str> = Some(balanced.as_str())
                .filter(|b| !b.is_empty())
                .into_iter()
                .chain(given)
                .collect();
            or(&all.join(","), "<pending>").to_owned()
        }
        _ => or(&given.join(","), NONE).to_owned(),
    }
}

fn ports(service: &Value) -> String {
    let texts: Vec<String> = array(service, "/spec/ports")
        .iter()
        .map(|port| {
            let number = integer_at(port, "/port");
            let protocol = at(port, "/protocol");
            match integer_at(port, "/nodePort") {
                0 => format!("{number}/{protocol}"),
                node => format!("{number}:{node}/{protocol}"),
            }
        })
        .collect();
    or(&texts.join(","), NONE).to_owned()
}
