//! Pieces that several columns share.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::age::human_duration;

pub(crate) const NONE: &str = "<none>";
pub(crate) const UNKNOWN: &str = "<unknown>";
pub(crate) const UNSET: &str = "<unset>";

/// The text at a JSON pointer, empty when there is none.
pub(crate) fn at<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

pub(crate) fn array<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

pub(crate) fn integer_at(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// The number of entries of an object or array.
pub(crate) fn length(object: &Value, pointer: &str) -> usize {
    match object.pointer(pointer) {
        Some(Value::Object(map)) => map.len(),
        Some(Value::Array(list)) => list.len(),
        _ => 0,
    }
}

pub(crate) fn string(object: &Value, pointer: &str) -> Value {
    json!(at(object, pointer))
}

pub(crate) fn string_or(object: &Value, pointer: &str, otherwise: &str) -> Value {
    json!(or(at(object, pointer), otherwise))
}

pub(crate) fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

pub(crate) fn age(object: &Value, now: Timestamp) -> Value {
    json!(since(at(object, "/metadata/creationTimestamp"), now))
}

/// Time since an RFC 3339 time, `<unknown>` where it is missing.
pub(crate) fn since(time: &str, now: Timestamp) -> String {
    match time.parse::<Timestamp>() {
        Ok(then) => human_duration(now.as_second() - then.as_second()),
        Err(_) => UNKNOWN.to_owned(),
    }
}

/// `a=b,c=d`, sorted, `<none>` when empty.
pub(crate) fn labels(object: &Value, pointer: &str) -> String {
    let Some(Value::Object(map)) = object.pointer(pointer) else {
        return NONE.to_owned();
    };
    let pairs: Vec<String> = map
        .iter()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    or(&pairs.join(","), NONE).to_owned()
}

/// A `meta/v1 LabelSelector` in the syntax of `-l`.
pub(crate) fn label_selector(object: &Value, pointer: &str) -> String {
    let Some(selector) = object.pointer(pointer) else {
        return NONE.to_owned();
    };
    let mut parts = Vec::new();
    if length(selector, "/matchLabels") > 0 {
        parts.push(labels(selector, "/matchLabels"));
    }
    for expression in array(selector, "/matchExpressions") {
        let key = at(expression, "/key");
        let values: Vec<&str> = array(expression, "/values")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        parts.push(match at(expression, "/operator") {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    or(&parts.join(","), NONE).to_owned()
}

/// Names and images of containers, each joined by commas.
pub(crate) fn containers(object: &Value, pointer: &str, field: &str) -> Value {
    let texts: Vec<&str> = array(object, pointer)
        .iter()
        .filter_map(|c| c.get(field).and_then(Value::as_str))
        .collect();
    json!(texts.join(","))
}

/// The first `max` texts; says how many more there are of `total`.
pub(crate) fn shortened(texts: &[String], max: usize, otherwise: &str) -> String {
    let shown = texts
        .iter()
        .take(max)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(",");
    match texts.len() {
        0 => otherwise.to_owned(),
        n if n > max => format!("{shown} + {} more...", n - max),
        _ => shown,
    }
}

/// Addresses of `status.loadBalancer`, once each and sorted.
pub(crate) fn load_balancer(object: &Value) -> String {
    let mut addresses: Vec<&str> = array(object, "/status/loadBalancer/ingress")
        .iter()
        .map(|ingress| or(at(ingress, "/ip"), at(ingress, "/hostname")))
        .filter(|address| !address.is_empty())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.join(",")
}

pub(crate) fn condition<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    array(object, "/status/conditions")
        .iter()
        .find(|c| at(c, "/type") == name)
}
