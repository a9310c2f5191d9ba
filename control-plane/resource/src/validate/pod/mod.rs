//! Pods and pod templates (`pkg/apis/core/validation`).

mod container;
mod probe;
mod update;
mod volume;

use std::collections::BTreeSet;

use serde_json::Value;

use super::faults::{Faults, Path, list, text};
use super::{labels, names};

pub(super) use update::changes;

const MAX_INT32: i64 = i32::MAX as i64;

pub(super) fn template(template: &Value, at: &Path, faults: &mut Faults) {
    labels::labels(&template["metadata"]["labels"], &at.child("labels"), faults);
    spec(&template["spec"], &at.child("spec"), faults);
}

pub(super) fn spec(spec: &Value, at: &Path, faults: &mut Faults) {
    let volumes = volume::all(list(spec, "volumes"), &at.child("volumes"), faults);
    let on_host = spec["hostNetwork"] == true;
    let mut seen = BTreeSet::new();
    let containers = list(spec, "containers");
    if containers.is_empty() {
        faults.required(at.child("containers"), "");
    }
    for name in ["containers", "initContainers"] {
        for (index, one) in list(spec, name).iter().enumerate() {
            let here = at.child(name).index(index);
            container::check(
                one,
                name == "initContainers",
                on_host,
                &volumes,
                &here,
                faults,
            );
            let container_name = text(one, "name");
            if !container_name.is_empty() && !seen.insert(container_name) {
                faults.duplicate(here.child("name"), &one["name"]);
            }
        }
    }
    choices(spec, at, faults);
    names_of_others(spec, at, faults);
    labels::labels(&spec["nodeSelector"], &at.child("nodeSelector"), faults);
    for (index, toleration) in list(spec, "tolerations").iter().enumerate() {
        self::toleration(toleration, &at.child("tolerations").index(index), faults);
    }
}

fn choices(spec: &Value, at: &Path, faults: &mut Faults) {
    let choices: [(&str, &[&str]); 2] = [
        ("restartPolicy", &["Always", "OnFailure", "Never"]),
        (
            "dnsPolicy",
            &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
        ),
    ];
    for (name, supported) in choices {
        if text(spec, name).is_empty() {
            faults.required(at.child(name), "");
        } else {
            faults.one_of(spec, name, supported, at);
        }
    }
    if spec["dnsPolicy"] == "None" && list(&spec["dnsConfig"], "nameservers").is_empty() {
        let here = at.child("dnsConfig").child("nameservers");
        faults.required(
            here,
            "must provide at least one DNS nameserver when `dnsPolicy` is None",
        );
    }
    faults.non_negative(spec, "terminationGracePeriodSeconds", at);
    let deadline = &spec["activeDeadlineSeconds"];
    if deadline
        .as_i64()
        .is_some_and(|seconds| !(1..=MAX_INT32).contains(&seconds))
    {
        let detail = format!("must be between 1 and {MAX_INT32}, inclusive");
        faults.invalid(at.child("activeDeadlineSeconds"), deadline, detail);
    }
}

fn names_of_others(spec: &Value, at: &Path, faults: &mut Faults) {
    let rules: [(&str, names::Rule); 6] = [
        ("serviceAccountName", names::dns_subdomain),
        ("nodeName", names::dns_subdomain),
        ("hostname", names::dns_label),
        ("subdomain", names::dns_label),
        ("priorityClassName", names::dns_subdomain),
        ("runtimeClassName", names::dns_subdomain),
    ];
    for (name, rule) in rules {
        let value = text(spec, name);
        if !value.is_empty() {
            faults.each(&at.child(name), value, rule(value));
        }
    }
}

fn toleration(toleration: &Value, at: &Path, faults: &mut Faults) {
    let key = text(toleration, "key");
    let operator = text(toleration, "operator");
    if !key.is_empty() {
        faults.each(&at.child("key"), key, names::label_key(key));
    } else if operator != "Exists" {
        let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        faults.invalid(at.child("operator"), &toleration["operator"], detail);
    }
    let effect = text(toleration, "effect");
    if toleration["tolerationSeconds"].is_i64() && effect != "NoExecute" {
        faults.invalid(
            at.child("effect"),
            &effect.into(),
            "effect must be 'NoExecute' when `tolerationSeconds` is set",
        );
    }
    match operator {
        "" | "Equal" => {
            let value = text(toleration, "value");
            faults.each(&at.child("operator"), value, names::label_value(value));
        }
        "Exists" if !text(toleration, "value").is_empty() => {
            let detail = "value must be empty when `operator` is 'Exists'";
            faults.invalid(at.child("operator"), &toleration["value"], detail);
        }
        "Exists" => {}
        _ => faults.not_supported(
            at.child("operator"),
            &toleration["operator"],
            &["Equal", "Exists"],
        ),
    }
    faults.one_of(
        toleration,
        "effect",
        &["NoSchedule", "PreferNoSchedule", "NoExecute"],
        at,
    );
}
