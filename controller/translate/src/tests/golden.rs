//! `cases/*.in.yaml` hold objects and settings, `.out.yaml` what follows. `UPDATE=1 cargo test` writes the latter anew.

use std::{collections::BTreeMap, fs, path::Path};

use portcullis_route::spec::{
    BackendSpec, PathMatch, RedirectToHttps, RouteAction, RouteSpec, StepSpec,
};
use serde_json::{Value, json};

use super::objects::put;
use crate::{
    Address, NodeAddresses, ObjectKey, Reason, Settings, Snapshot, Translation, Unsupported,
    translate,
};

#[test]
fn every_case_translates_as_recorded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("cases") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(case) = name.and_then(|name| name.strip_suffix(".in.yaml")) {
            check(&folder, case);
            count += 1;
        }
    }
    assert!(count > 20, "only {count} cases were found");
}

fn check(folder: &Path, case: &str) {
    let input = fs::read_to_string(folder.join(format!("{case}.in.yaml"))).expect("input");
    let input: Value =
        serde_saphyr::from_str(&input).unwrap_or_else(|error| panic!("{case}: {error}"));
    let mut snapshot = Snapshot::default();
    for object in input["objects"].as_array().expect("objects") {
        snapshot.apply(put(object.clone()));
    }
    let settings = settings(&input["settings"]);
    let output = render(&translate(&snapshot, &settings));
    let output = serde_saphyr::to_string(&output).expect("YAML");
    let path = folder.join(format!("{case}.out.yaml"));
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &output).expect("output");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(output, expected, "case {case}; UPDATE=1 accepts the change");
}

fn settings(input: &Value) -> Settings {
    let mut settings = Settings::default();
    let Some(fields) = input.as_object() else {
        return settings;
    };
    for (name, value) in fields {
        let text = || value.as_str().expect("text").to_owned();
        let flag = || value.as_bool().expect("a flag");
        match name.as_str() {
            "ingressClass" => settings.ingress_class = text(),
            "controllerClass" => settings.controller_class = text(),
            "ingressClassByName" => settings.ingress_class_by_name = flag(),
            "watchWithoutClass" => settings.watch_without_class = flag(),
            "disableCatchAll" => settings.disable_catch_all = flag(),
            "defaultBackend" => settings.default_backend = ObjectKey::parse(&text()),
            "defaultCertificate" => settings.default_certificate = ObjectKey::parse(&text()),
            "publishService" => settings.publish_service = ObjectKey::parse(&text()),
            "publishNodes" => {
                settings.publish_nodes = Some(match text().as_str() {
                    "internal" => NodeAddresses::Internal,
                    _ => NodeAddresses::External,
                });
            }
            "publishAddresses" => {
                let all = value.as_array().expect("addresses");
                let all = all.iter().filter_map(Value::as_str);
                settings.publish_addresses = all.map(Address::parse).collect();
            }
            "unsupportedServe" => settings.unsupported = Unsupported::Serve,
            other => panic!("unknown setting {other}"),
        }
    }
    settings
}

/// What a reader wants to see; what never differs is left out.
fn render(translation: &Translation) -> Value {
    let specs = &translation.specs;
    let mut hosts = BTreeMap::new();
    for host in &specs.hosts {
        let shown = host.routes.iter().filter(|route| !is_plain_404(route));
        let shown: Vec<String> = shown.map(render_route).collect();
        let mut routes = host.routes.iter();
        if routes.any(|route| !is_builtin(route)) {
            hosts.insert(host.host.to_string(), shown);
        }
    }
    let backends: BTreeMap<&str, Vec<String>> =
        specs.backends.iter().map(|b| render_backend(b)).collect();
    let certificates: BTreeMap<&str, Vec<String>> = specs
        .certificates
        .iter()
        .map(|c| {
            let names = c.server_names.iter().map(ToString::to_string);
            (c.name.as_str(), names.collect())
        })
        .collect();
    let notices = translation.notices.iter().flat_map(|all| all.iter());
    let notices = notices.filter(|notice| notice.reason != Reason::Sync);
    let notices: Vec<String> = notices
        .map(|n| format!("{} {} {}: {}", n.severity, n.reason, n.ingress, n.message))
        .collect();
    let statuses = translation.statuses.iter();
    let statuses: Vec<String> = statuses
        .map(|change| format!("{} {:?}", change.ingress, change.addresses))
        .collect();
    json!({
        "backends": backends,
        "certificates": certificates,
        "hosts": hosts,
        "notices": notices,
        "statuses": statuses,
    })
}

fn is_plain_404(route: &RouteSpec) -> bool {
    is_builtin(route) && route.matches.path == PathMatch::Prefix("/".to_owned())
}

/// The health check of the any-host and the plain 404 that every host has.
fn is_builtin(route: &RouteSpec) -> bool {
    let only_responds = |steps: &[StepSpec]| matches!(steps, [StepSpec::Respond(_)]);
    route.labels.service.is_empty()
        && matches!(&route.action, RouteAction::Serve(steps) if only_responds(steps))
}

fn render_route(route: &RouteSpec) -> String {
    let path = match &route.matches.path {
        PathMatch::Exact(path) => format!("exact {path}"),
        PathMatch::Prefix(path) => format!("prefix {path}"),
        PathMatch::PlainPrefix(path) => format!("plain prefix {path}"),
        PathMatch::Regex { pattern, .. } => format!("regex {pattern}"),
    };
    let action = match &route.action {
        RouteAction::Deny(denial) => format!("deny {}: {}", denial.status, denial.reason),
        RouteAction::Serve(steps) => {
            let steps: Vec<String> = steps.iter().map(render_step).collect();
            steps.join(", ")
        }
    };
    format!("{} {path} -> {action}", route.rank)
}

fn render_step(step: &StepSpec) -> String {
    match step {
        StepSpec::RedirectToHttps(RedirectToHttps { status, .. }) => {
            format!("redirect to https {status}")
        }
        StepSpec::LimitRate(limit) => format!(
            "limit {}: {} per {} s, burst {}, status {}, exempt {:?}",
            limit.name,
            limit.requests,
            limit.interval_seconds,
            limit.burst,
            limit.status,
            limit.exempt
        ),
        StepSpec::Respond(response) => format!("respond {}", response.status),
        StepSpec::Forward(forward) => {
            let mut text = format!("forward {}", forward.backend);
            if let Some(affinity) = &forward.affinity {
                text.push_str(&format!(" {affinity:?}"));
            }
            let defaults = crate::AnnotationDefaults::default();
            if forward.timeouts != defaults.timeouts {
                text.push_str(&format!(" {:?}", forward.timeouts));
            }
            if forward.max_request_body_bytes != defaults.max_request_body_bytes {
                text.push_str(&format!(" body {}", forward.max_request_body_bytes));
            }
            text
        }
        #[allow(unreachable_patterns, reason = "steps are added by the routes' crate")]
        other => format!("{other:?}"),
    }
}

fn render_backend(backend: &BackendSpec) -> (&str, Vec<String>) {
    let endpoints = backend.endpoints.iter();
    let endpoints = endpoints.map(|e| format!("{} {:?}", e.address, e.state));
    (&backend.name, endpoints.collect())
}
