//! Probes and lifecycle hooks.

use serde_json::Value;

use super::super::faults::{Faults, Path, text};
use super::super::names;

const HANDLERS: [&str; 5] = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];

pub(super) fn all(container: &Value, at: &Path, faults: &mut Faults) {
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = &container[name];
        if probe.is_null() {
            continue;
        }
        let here = at.child(name);
        handler(probe, &here, faults);
        for number in [
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        ] {
            faults.non_negative(probe, number, &here);
        }
        if name != "readinessProbe" && probe["successThreshold"].as_i64().is_some_and(|n| n != 1) {
            faults.invalid(
                here.child("successThreshold"),
                &probe["successThreshold"],
                "must be 1",
            );
        }
    }
    for hook in ["postStart", "preStop"] {
        if container["lifecycle"][hook].is_object() {
            handler(
                &container["lifecycle"][hook],
                &at.child("lifecycle").child(hook),
                faults,
            );
        }
    }
}

fn handler(holder: &Value, at: &Path, faults: &mut Faults) {
    let given: Vec<&str> = HANDLERS
        .into_iter()
        .filter(|name| !holder[*name].is_null())
        .collect();
    for extra in given.iter().skip(1) {
        faults.forbidden(at.child(extra), "may not specify more than 1 handler type");
    }
    let Some(name) = given.first() else {
        return faults.required(at.clone(), "must specify a handler type");
    };
    let (action, here) = (&holder[*name], at.child(name));
    match *name {
        "exec" if action["command"].as_array().is_none_or(Vec::is_empty) => {
            faults.required(here.child("command"), "");
        }
        "httpGet" => {
            if text(action, "path").is_empty() {
                faults.required(here.child("path"), "");
            }
            port(&action["port"], here.child("port"), faults);
            faults.one_of(action, "scheme", &["HTTP", "HTTPS"], &here);
        }
        "tcpSocket" | "grpc" => port(&action["port"], here.child("port"), faults),
        _ => {}
    }
}

fn port(port: &Value, at: Path, faults: &mut Faults) {
    let messages = match port {
        Value::String(name) => names::port_name(name),
        _ => names::port_number(port.as_i64().unwrap_or(0)),
    };
    for message in messages {
        faults.invalid(at.clone(), port, message);
    }
}
