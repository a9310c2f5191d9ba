//! Ingresses and their classes (`pkg/apis/networking/validation`).

use std::net::IpAddr;

use serde_json::Value;

use super::faults::{Faults, Path, list, text};
use super::names;

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const BAD_SEQUENCES: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const BAD_ENDS: [&str; 2] = ["/..", "/."];

pub(super) fn check(ingress: &Value, faults: &mut Faults) {
    let spec = &ingress["spec"];
    let at = Path::root("spec");
    let rules = list(spec, "rules");
    if rules.is_empty() && spec["defaultBackend"].is_null() {
        let detail = "either `defaultBackend` or `rules` must be specified";
        faults.invalid(at.clone(), &spec["rules"], detail);
    }
    if spec["defaultBackend"].is_object() {
        backend(&spec["defaultBackend"], &at.child("defaultBackend"), faults);
    }
    for (index, rule) in rules.iter().enumerate() {
        let here = at.child("rules").index(index);
        host(text(rule, "host"), here.child("host"), faults);
        if rule["http"].is_object() {
            paths(
                list(&rule["http"], "paths"),
                &here.child("http").child("paths"),
                faults,
            );
        }
    }
    for (index, tls) in list(spec, "tls").iter().enumerate() {
        let here = at.child("tls").index(index);
        for (index, name) in list(tls, "hosts").iter().enumerate() {
            let name = name.as_str().unwrap_or_default();
            let messages = if name.contains('*') {
                names::wildcard_subdomain(name)
            } else {
                names::dns_subdomain(name)
            };
            faults.each(&here.child("hosts").index(index), name, messages);
        }
        let secret = text(tls, "secretName");
        if !secret.is_empty() {
            faults.each(
                &here.child("secretName"),
                secret,
                names::dns_subdomain(secret),
            );
        }
    }
    let class = text(spec, "ingressClassName");
    if !class.is_empty() {
        faults.each(
            &at.child("ingressClassName"),
            class,
            names::dns_subdomain(class),
        );
    }
    let annotation = &ingress["metadata"]["annotations"][CLASS_ANNOTATION];
    if !spec["ingressClassName"].is_null() && annotation.is_string() {
        let here = Path::root("annotations").child(CLASS_ANNOTATION);
        faults.invalid(
            here,
            annotation,
            "can not be set when the class field is also set",
        );
    }
}

fn host(host: &str, at: Path, faults: &mut Faults) {
    if host.is_empty() {
        return;
    }
    if host.parse::<IpAddr>().is_ok() {
        return faults.invalid(at, &host.into(), "must be a DNS name, not an IP address");
    }
    let messages = if host.contains('*') {
        names::wildcard_subdomain(host)
    } else {
        names::dns_subdomain(host)
    };
    faults.each(&at, host, messages);
}

fn paths(paths: &[Value], at: &Path, faults: &mut Faults) {
    if paths.is_empty() {
        faults.required(at.clone(), "");
    }
    for (index, rule) in paths.iter().enumerate() {
        let here = at.index(index);
        let path = text(rule, "path");
        match rule["pathType"].as_str() {
            None => faults.required(here.child("pathType"), "pathType must be specified"),
            Some("Exact" | "Prefix") => absolute_path(path, rule, &here.child("path"), faults),
            Some("ImplementationSpecific") => {
                if !path.is_empty() && !path.starts_with('/') {
                    faults.invalid(
                        here.child("path"),
                        &rule["path"],
                        "must be an absolute path",
                    );
                }
            }
            Some(_) => {
                let supported = ["Exact", "ImplementationSpecific", "Prefix"];
                faults.not_supported(here.child("pathType"), &rule["pathType"], &supported);
            }
        }
        backend(&rule["backend"], &here.child("backend"), faults);
    }
}

fn absolute_path(path: &str, rule: &Value, at: &Path, faults: &mut Faults) {
    if !path.starts_with('/') {
        let shown = if rule["path"].is_null() {
            Value::from("")
        } else {
            rule["path"].clone()
        };
        faults.invalid(at.clone(), &shown, "must be an absolute path");
    }
    for sequence in BAD_SEQUENCES.into_iter().filter(|bad| path.contains(bad)) {
        faults.invalid(
            at.clone(),
            &rule["path"],
            format!("must not contain '{sequence}'"),
        );
    }
    for end in BAD_ENDS.into_iter().filter(|bad| path.ends_with(bad)) {
        faults.invalid(
            at.clone(),
            &rule["path"],
            format!("cannot end with '{end}'"),
        );
    }
}

fn backend(backend: &Value, at: &Path, faults: &mut Faults) {
    let (service, resource) = (&backend["service"], &backend["resource"]);
    match (service.is_object(), resource.is_object()) {
        (true, true) => {
            faults.invalid(
                at.clone(),
                &"".into(),
                "cannot set both resource and service backends",
            );
        }
        (false, true) => {
            for name in ["kind", "name"] {
                if text(resource, name).is_empty() {
                    faults.required(at.child("resource").child(name), "");
                }
            }
        }
        (true, false) => self::service(service, at, faults),
        (false, false) => faults.required(at.clone(), "resource or service backend is required"),
    }
}

fn service(service: &Value, at: &Path, faults: &mut Faults) {
    let here = at.child("service");
    match text(service, "name") {
        "" => faults.required(here.child("name"), ""),
        name => faults.each(&here.child("name"), name, names::dns_1035_label(name)),
    }
    let name = text(&service["port"], "name");
    let number = service["port"]["number"].as_i64().unwrap_or(0);
    match (name.is_empty(), number == 0) {
        (false, false) => faults.invalid(
            at.clone(),
            &"".into(),
            "cannot set both port name & port number",
        ),
        (true, true) => faults.required(at.clone(), "port name or number is required"),
        (false, true) => faults.each(
            &here.child("port").child("name"),
            name,
            names::port_name(name),
        ),
        (true, false) => {
            for message in names::port_number(number) {
                faults.invalid(here.child("port").child("number"), &number.into(), message);
            }
        }
    }
}

/// An IngressClass.
pub(super) fn class(class: &Value, faults: &mut Faults) {
    let spec = &class["spec"];
    let at = Path::root("spec").child("controller");
    let controller = text(spec, "controller");
    if controller.is_empty() {
        return faults.required(at, "");
    }
    match controller.split_once('/') {
        Some((domain, path)) if !domain.is_empty() && !path.is_empty() => {
            faults.each(&at, domain, names::dns_subdomain(domain));
        }
        _ => {
            let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            faults.invalid(at, &spec["controller"], detail);
        }
    }
    let parameters = &spec["parameters"];
    if parameters.is_object() {
        let here = Path::root("spec").child("parameters");
        for name in ["kind", "name"] {
            if text(parameters, name).is_empty() {
                faults.required(here.child(name), "");
            }
        }
        faults.one_of(parameters, "scope", &["Cluster", "Namespace"], &here);
    }
}
