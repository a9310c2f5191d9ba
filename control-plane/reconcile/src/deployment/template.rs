//! When two pod templates are the same, and what a template's hash is.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::Value;

pub(super) const HASH_LABEL: &str = "pod-template-hash";

/// Equal but for the hash label, with absent and empty lists alike (as the API treats them).
pub(super) fn same(left: &PodTemplateSpec, right: &PodTemplateSpec) -> bool {
    canonical(left) == canonical(right)
}

/// The name suffix and label value for a template: FNV-1a over its canonical JSON, then the collision count, in the
/// alphabet of generated names. It only has to be stable and spread: matching is by content.
pub(super) fn hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let mut fnv = OFFSET_BASIS;
    let mut eat = |byte: u8| fnv = (fnv ^ u32::from(byte)).wrapping_mul(PRIME);
    canonical(template).to_string().bytes().for_each(&mut eat);
    if let Some(collisions) = collisions {
        collisions.to_le_bytes().into_iter().for_each(&mut eat);
    }
    fnv.to_string()
        .bytes()
        .map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()]))
        .collect()
}

fn canonical(template: &PodTemplateSpec) -> Value {
    let mut template = template.clone();
    if let Some(metadata) = &mut template.metadata {
        if let Some(labels) = &mut metadata.labels {
            labels.remove(HASH_LABEL);
        }
        // Servers may or may not write this back; it says nothing about the pod.
        metadata.creation_timestamp = None;
    }
    prune(serde_json::to_value(&template).expect("a pod template is plain JSON"))
}

fn prune(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            // Collected through a sorted map: serde_json's own order depends on a feature others may turn on.
            let sorted: std::collections::BTreeMap<_, _> = fields.into_iter().collect();
            let kept = sorted.into_iter().map(|(name, field)| (name, prune(field)));
            Value::Object(
                kept.filter(|(_, field)| !field.is_null() && *field != Value::Array(Vec::new()))
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.into_iter().map(prune).collect()),
        plain => plain,
    }
}

const OFFSET_BASIS: u32 = 0x811c_9dc5;
const PRIME: u32 = 0x0100_0193;
/// No vowels and no look-alikes, so no generated name spells a word.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
