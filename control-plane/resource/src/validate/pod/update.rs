//! What may change in a pod once it exists.

use serde_json::Value;

use super::super::faults::{Faults, Path, list};

const ALLOWED: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(crate) fn changes(old: &Value, new: &Value, faults: &mut Faults) {
    let at = Path::root("spec");
    for name in ["containers", "initContainers"] {
        if list(old, name).len() != list(new, name).len() {
            faults.forbidden(
                at.child(name),
                "pod updates may not add or remove containers",
            );
            return;
        }
    }
    let deadline = |spec: &Value| spec["activeDeadlineSeconds"].as_i64();
    match (deadline(old), deadline(new)) {
        (Some(_), None) => {
            let detail = "must not update from a positive integer to nil value";
            faults.invalid(at.child("activeDeadlineSeconds"), &Value::Null, detail);
        }
        (Some(before), Some(after)) if after > before => {
            let detail = "must be less than or equal to previous value";
            faults.invalid(at.child("activeDeadlineSeconds"), &after.into(), detail);
        }
        _ => {}
    }
    let kept = list(new, "tolerations");
    if list(old, "tolerations")
        .iter()
        .any(|toleration| !same_but_seconds(kept, toleration))
    {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        faults.forbidden(at.child("tolerations"), detail);
    }
    if comparable(old, old) != comparable(new, old) {
        faults.forbidden(at, ALLOWED);
    }
}

fn same_but_seconds(tolerations: &[Value], wanted: &Value) -> bool {
    let fixed = ["key", "operator", "value", "effect"];
    tolerations
        .iter()
        .any(|toleration| fixed.iter().all(|name| toleration[*name] == wanted[*name]))
}

/// `spec` with everything that may change as it is in `like`.
fn comparable(spec: &Value, like: &Value) -> Value {
    let mut spec = spec.clone();
    for name in ["containers", "initContainers"] {
        let images: Vec<Value> = list(like, name)
            .iter()
            .map(|container| container["image"].clone())
            .collect();
        for (container, image) in spec[name].as_array_mut().into_iter().flatten().zip(images) {
            container["image"] = image;
        }
    }
    for name in ["activeDeadlineSeconds", "tolerations"] {
        spec[name] = like[name].clone();
    }
    let shortened = like["terminationGracePeriodSeconds"]
        .as_i64()
        .is_some_and(|s| s < 0);
    if shortened && spec["terminationGracePeriodSeconds"] == 1 {
        spec["terminationGracePeriodSeconds"] = like["terminationGracePeriodSeconds"].clone();
    }
    // Gates may be taken away, never added.
    let before = list(like, "schedulingGates");
    if list(&spec, "schedulingGates")
        .iter()
        .all(|gate| before.contains(gate))
    {
        spec["schedulingGates"] = like["schedulingGates"].clone();
    }
    spec
}
