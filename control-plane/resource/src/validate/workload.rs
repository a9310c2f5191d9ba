//! Deployments and ReplicaSets (`pkg/apis/apps/validation`).

use serde_json::Value;

use super::faults::{Faults, Path, text};
use super::{labels, pod};

pub(super) fn deployment(spec: &Value, at: &Path, faults: &mut Faults) {
    faults.non_negative(spec, "replicas", at);
    selector_and_template(spec, at, faults);
    strategy(&spec["strategy"], &at.child("strategy"), faults);
    for name in [
        "minReadySeconds",
        "revisionHistoryLimit",
        "progressDeadlineSeconds",
    ] {
        faults.non_negative(spec, name, at);
    }
    let ready = spec["minReadySeconds"].as_i64().unwrap_or(0);
    if spec["progressDeadlineSeconds"]
        .as_i64()
        .is_some_and(|deadline| deadline <= ready)
    {
        let deadline = &spec["progressDeadlineSeconds"];
        faults.invalid(
            at.child("progressDeadlineSeconds"),
            deadline,
            "must be greater than minReadySeconds",
        );
    }
}

pub(super) fn replica_set(spec: &Value, at: &Path, faults: &mut Faults) {
    faults.non_negative(spec, "replicas", at);
    faults.non_negative(spec, "minReadySeconds", at);
    selector_and_template(spec, at, faults);
}

fn selector_and_template(spec: &Value, at: &Path, faults: &mut Faults) {
    let selector = &spec["selector"];
    if selector.is_null() {
        faults.required(at.child("selector"), "");
    } else {
        labels::selector(selector, &at.child("selector"), faults);
        if labels::is_empty(selector) {
            // Upstream says "deployment" for ReplicaSets too.
            faults.invalid(
                at.child("selector"),
                selector,
                "empty selector is invalid for deployment",
            );
        }
    }
    let template = &spec["template"];
    let at = at.child("template");
    let template_labels = &template["metadata"]["labels"];
    if !selector.is_null()
        && !labels::is_empty(selector)
        && !labels::matches(selector, template_labels)
    {
        let shown = if template_labels.is_null() {
            &Value::Null
        } else {
            template_labels
        };
        let detail = "`selector` does not match template `labels`";
        faults.invalid(at.child("metadata").child("labels"), shown, detail);
    }
    pod::template(template, &at, faults);
    let policy = &template["spec"]["restartPolicy"];
    if policy.is_string() && policy != "Always" {
        faults.not_supported(at.child("spec").child("restartPolicy"), policy, &["Always"]);
    }
    if template["spec"]["activeDeadlineSeconds"].is_i64() {
        let at = at.child("spec").child("activeDeadlineSeconds");
        faults.forbidden(at, "activeDeadlineSeconds in ReplicaSet is not Supported");
    }
}

fn strategy(strategy: &Value, at: &Path, faults: &mut Faults) {
    let rolling = &strategy["rollingUpdate"];
    let here = at.child("rollingUpdate");
    match text(strategy, "type") {
        "Recreate" if !rolling.is_null() => {
            faults.forbidden(
                here,
                "may not be specified when strategy `type` is 'Recreate'",
            );
        }
        "Recreate" => {}
        "RollingUpdate" if rolling.is_null() => {
            faults.required(here, "this should be defaulted and never be nil");
        }
        "RollingUpdate" => {
            for name in ["maxUnavailable", "maxSurge"] {
                int_or_percent(&rolling[name], here.child(name), faults);
            }
            if is_zero(&rolling["maxUnavailable"]) && is_zero(&rolling["maxSurge"]) {
                let value = &rolling["maxUnavailable"];
                faults.invalid(
                    here.child("maxUnavailable"),
                    value,
                    "may not be 0 when `maxSurge` is 0",
                );
            }
            if percent(&rolling["maxUnavailable"]).is_some_and(|percent| percent > 100) {
                faults.invalid(
                    here.child("maxUnavailable"),
                    &rolling["maxUnavailable"],
                    "must not be greater than 100%",
                );
            }
        }
        _ => faults.not_supported(
            at.child("type"),
            &strategy["type"],
            &["Recreate", "RollingUpdate"],
        ),
    }
}

fn int_or_percent(value: &Value, at: Path, faults: &mut Faults) {
    match value {
        Value::String(_) if percent(value).is_none() => faults.invalid(
            at,
            value,
            "a valid percent string must be a numeric string followed by an ending '%' \
             (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
        ),
        Value::Number(number) if number.as_i64().is_some_and(|number| number < 0) => {
            faults.invalid(at, value, "must be greater than or equal to 0");
        }
        _ => {}
    }
}

fn percent(value: &Value) -> Option<u32> {
    let digits = value.as_str()?.strip_suffix('%')?;
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        digits.parse().ok()
    } else {
        None
    }
}

fn is_zero(value: &Value) -> bool {
    value.as_i64() == Some(0) || percent(value) == Some(0)
}
