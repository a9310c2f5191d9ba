//! Admission that needs no look-ups: what upstream's default plug-ins and create strategies set.

use serde_json::{Value, json};

use super::{WriteContext, metadata};
use crate::kind::KindSpec;

/// Every namespace carries its name as a label.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// Seconds a pod stays on a node that became unready or unreachable (DefaultTolerationSeconds).
const NODE_FAILURE_TOLERATION_S: i64 = 300;
const NODE_FAILURE_TAINTS: [&str; 2] = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
];
/// The two priority classes every cluster has (`pkg/apis/scheduling/types.go`).
const SYSTEM_PRIORITIES: [(&str, i64); 2] = [
    ("system-cluster-critical", 2_000_000_000),
    ("system-node-critical", 2_000_001_000),
];

pub(super) fn on_create(kind: &KindSpec, object: &mut Value, context: &WriteContext<'_>) {
    match (kind.group, kind.kind) {
        ("", "Pod") => pod(object),
        ("", "Namespace") => namespace(object),
        ("", "Secret") => secret(object),
        ("networking.k8s.io", "Ingress") => ingress(object, context),
        _ => {}
    }
}

pub(super) fn on_update(kind: &KindSpec, object: &mut Value) {
    match (kind.group, kind.kind) {
        ("", "Namespace") => label_namespace(object),
        ("", "Secret") => secret(object),
        _ => {}
    }
}

fn pod(pod: &mut Value) {
    let quality = quality_of_service(&pod["spec"]);
    pod["status"] = json!({"phase": "Pending", "qosClass": quality});
    let spec = &mut pod["spec"];
    if spec["serviceAccountName"]
        .as_str()
        .unwrap_or_default()
        .is_empty()
    {
        spec["serviceAccountName"] = "default".into();
        spec["serviceAccount"] = "default".into();
    }
    let class = spec["priorityClassName"].as_str().unwrap_or_default();
    let known = SYSTEM_PRIORITIES.iter().find(|(name, _)| *name == class);
    if spec.get("priority").is_none() {
        spec["priority"] = known.map_or(0, |(_, value)| *value).into();
    }
    if spec.get("preemptionPolicy").is_none() {
        spec["preemptionPolicy"] = "PreemptLowerPriority".into();
    }
    let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
    for taint in NODE_FAILURE_TAINTS {
        let tolerated = tolerations.iter().any(|toleration| {
            let key = toleration["key"].as_str().unwrap_or_default();
            let effect = toleration["effect"].as_str().unwrap_or_default();
            (key == taint || key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        });
        if !tolerated {
            tolerations.push(
                json!({"key": taint, "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": NODE_FAILURE_TOLERATION_S}),
            );
        }
    }
    spec["tolerations"] = tolerations.into();
}

/// `qos.ComputePodQOS`: by cpu and memory of all containers.
fn quality_of_service(spec: &Value) -> &'static str {
    let lists = ["containers", "initContainers"];
    let containers = lists
        .iter()
        .flat_map(|name| spec[*name].as_array().into_iter().flatten());
    let (mut any, mut guaranteed) = (false, true);
    for container in containers {
        let resources = &container["resources"];
        for name in ["cpu", "memory"] {
            let request = resources["requests"][name]
                .as_str()
                .filter(|text| *text != "0");
            let limit = resources["limits"][name]
                .as_str()
                .filter(|text| *text != "0");
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

fn namespace(namespace: &mut Value) {
    namespace["status"] = json!({"phase": "Active"});
    let finalizers = namespace["spec"]["finalizers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    if !finalizers.iter().any(|finalizer| finalizer == "kubernetes") {
        let all: Vec<Value> = finalizers
            .into_iter()
            .chain(["kubernetes".into()])
            .collect();
        namespace["spec"]["finalizers"] = all.into();
    }
    label_namespace(namespace);
}

fn label_namespace(namespace: &mut Value) {
    let name = metadata::text(namespace, "name").to_owned();
    let metadata = metadata::of(namespace);
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    if !name.is_empty() && labels.is_object() {
        labels[NAME_LABEL] = name.into();
    }
}

/// `stringData` is write-only: it ends up in `data`.
fn secret(secret: &mut Value) {
    use base64::Engine;
    let Some(texts) = secret
        .as_object_mut()
        .and_then(|secret| secret.remove("stringData"))
    else {
        return;
    };
    for (key, text) in texts.as_object().into_iter().flatten() {
        let text = text.as_str().unwrap_or_default();
        let encoded = base64::engine::general_purpose::STANDARD.encode(text);
        secret["data"][key] = encoded.into();
    }
}

fn ingress(ingress: &mut Value, context: &WriteContext<'_>) {
    let annotated = ingress["metadata"]["annotations"]
        .get("kubernetes.io/ingress.class")
        .is_some();
    let named = ingress["spec"].get("ingressClassName").is_some();
    if let Some(class) = context
        .default_ingress_class
        .filter(|_| !annotated && !named)
    {
        ingress["spec"]["ingressClassName"] = class.into();
    }
}
