//! Field selectors: `status.phase=Running,spec.nodeName!=a` (`apimachinery/pkg/fields/selector.go`).

use serde_json::Value;

use crate::error::ApiError;
use crate::kind::KindSpec;

/// All requirements must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {
    requirements: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    field: String,
    value: String,
    equal: bool,
}

impl FieldSelector {
    /// # Errors
    /// 400 for syntax, and for fields that this kind does not offer.
    pub fn parse(text: &str, kind: &KindSpec) -> Result<Self, ApiError> {
        let mut requirements = Vec::new();
        for term in split_terms(text) {
            let requirement = requirement(&term).ok_or_else(|| {
                ApiError::BadRequest(format!(
                    "invalid selector: '{text}'; can't understand '{term}'"
                ))
            })?;
            check_offered(&requirement.field, kind)?;
            requirements.push(requirement);
        }
        Ok(Self { requirements })
    }

    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The one name that can match, where the selector names one.
    pub fn exact_name(&self) -> Option<&str> {
        let named = |r: &&Requirement| r.equal && r.field == "metadata.name";
        self.requirements
            .iter()
            .find(named)
            .map(|r| r.value.as_str())
    }

    /// `object` as the API shows it, not as it is stored.
    pub fn matches(&self, object: &Value) -> bool {
        self.requirements
            .iter()
            .all(|r| (field_text(object, &r.field) == r.value) == r.equal)
    }
}

fn check_offered(field: &str, kind: &KindSpec) -> Result<(), ApiError> {
    let common = match field {
        "metadata.name" => true,
        "metadata.namespace" => kind.namespaced,
        _ => false,
    };
    if common || kind.selectable_fields.contains(&field) {
        return Ok(());
    }
    Err(ApiError::BadRequest(format!(
        "field label not supported: {field}"
    )))
}

/// Fields as text: numbers and booleans in Go's spelling, missing ones as their zero value.
fn field_text(object: &Value, field: &str) -> String {
    let pointer = format!("/{}", field.replace('.', "/"));
    match (object.pointer(&pointer), field) {
        // Events say who reports them in one of two places.
        (Some(Value::Object(source)), "source") => {
            let component = source
                .get("component")
                .and_then(Value::as_str)
                .unwrap_or_default();
            component.to_owned()
        }
        (None, "source") => field_text(object, "reportingComponent"),
        (Some(Value::String(text)), _) => text.clone(),
        (Some(other), _) => other.to_string(),
        (None, "spec.unschedulable" | "spec.hostNetwork") => "false".to_owned(),
        (None, "status.replicas") => "0".to_owned(),
        (None, _) => String::new(),
    }
}

fn requirement(term: &str) -> Option<Requirement> {
    let (field, operator, value) = ["!=", "==", "="].iter().find_map(|operator| {
        let (field, value) = term.split_once(operator)?;
        // `==` would also be found by `=`, inside a value it is none.
        (!field.contains('=')).then_some((field, *operator, value))
    })?;
    Some(Requirement {
        field: field.trim().to_owned(),
        value: unescape(value)?,
        equal: operator != "!=",
    })
}

/// Splits at commas that are not escaped.
fn split_terms(text: &str) -> Vec<String> {
    let mut terms = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        if c == ',' && !escaped {
            terms.push(String::new());
            continue;
        }
        escaped = c == '\\' && !escaped;
        if let Some(term) = terms.last_mut() {
            term.push(c);
        }
    }
    terms.retain(|term| !term.is_empty());
    terms
}

/// `\,`, `\=` and `\\` stand for themselves; other escapes and bare separators are faults.
fn unescape(value: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(chars.next().filter(|e| matches!(e, ',' | '=' | '\\'))?),
            ',' | '=' => return None,
            other => out.push(other),
        }
    }
    Some(out)
}
