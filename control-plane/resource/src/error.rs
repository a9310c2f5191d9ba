//! Every way a request can fail, and the one place where failures become `Status` objects.
//!
//! Message texts, reasons and codes are those of upstream's `apimachinery/pkg/api/errors` and
//! `apimachinery/pkg/util/validation/field`: controllers branch on `reason`, people read `message`.

use serde_json::{Map, Value, json};

/// A resource named the way messages name it: `deployments.apps`, or `pods` in the core group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupName {
    pub group: String,
    /// A plural (`deployments`) or a kind (`Deployment`), whichever the message speaks of.
    pub name: String,
}

impl GroupName {
    pub fn new(group: &str, name: &str) -> Self {
        Self {
            group: group.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl std::fmt::Display for GroupName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}.{}", self.name, self.group)
        }
    }
}

/// Why a request failed. [`ApiError::status`] is the only way out to a client.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ApiError {
    #[error("{resource} \"{name}\" not found")]
    NotFound { resource: GroupName, name: String },
    /// The path itself is not served.
    #[error("the server could not find the requested resource")]
    UnknownPath,
    #[error("{resource} \"{name}\" already exists")]
    AlreadyExists { resource: GroupName, name: String },
    /// Every try at a random suffix for `generateName` met an existing object.
    #[error(
        "{resource} \"{name}\" already exists, the server was not able to generate a unique name for the object"
    )]
    NameGenerationExhausted { resource: GroupName, name: String },
    #[error("Operation cannot be fulfilled on {resource} \"{name}\": {message}")]
    Conflict {
        resource: GroupName,
        name: String,
        message: String,
    },
    #[error("{kind} \"{name}\" is invalid: {}", joined(errors))]
    Invalid {
        /// Group and kind, not the plural.
        kind: GroupName,
        name: String,
        errors: Vec<FieldError>,
    },
    #[error("{0}")]
    BadRequest(String),
    #[error("Unauthorized")]
    Unauthorized,
    #[error("{}", forbidden_message(resource.as_ref(), name, message))]
    Forbidden {
        /// `None` for paths that are not resources.
        resource: Option<GroupName>,
        name: String,
        message: String,
        causes: Vec<Cause>,
    },
    #[error("{verb} is not supported on resources of kind \"{resource}\"")]
    MethodNotAllowed { resource: GroupName, verb: String },
    #[error("only the following media types are accepted: {}", accepted.join(", "))]
    NotAcceptable { accepted: Vec<String> },
    #[error("{message}")]
    UnsupportedMediaType { message: String },
    /// A resource version that the store has compacted away.
    #[error("{message}")]
    Expired {
        message: String,
        /// A token that goes on at the present state, for lists in pages.
        continue_token: Option<String>,
    },
    #[error("Too large resource version: {asked}, current: {current}")]
    ResourceVersionTooLarge { asked: u64, current: u64 },
    #[error("{message}")]
    Timeout { message: String },
    #[error("{message}")]
    TooManyRequests {
        message: String,
        retry_after_s: u32,
        causes: Vec<Cause>,
    },
    #[error("Request entity too large: limit is {limit_bytes}")]
    RequestEntityTooLarge { limit_bytes: u64 },
    #[error("Internal error occurred: {0}")]
    Internal(String),
    #[error("{0}")]
    ServiceUnavailable(String),
}

/// One entry of `details.causes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    pub reason: String,
    pub message: String,
    pub field: String,
}

/// One fault of one field, with the path in upstream's spelling: `spec.ports[0].port`.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    pub fault: Fault,
    pub field: String,
    pub value: Option<Value>,
    pub detail: String,
}

/// What is wrong with a field (`field.ErrorType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    TypeInvalid,
    Internal,
}

impl FieldError {
    pub fn required(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::of(Fault::Required, field, None, detail)
    }
    pub fn invalid(field: impl Into<String>, value: &Value, detail: impl Into<String>) -> Self {
        Self::of(Fault::Invalid, field, Some(value.clone()), detail)
    }
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self::of(Fault::Duplicate, field, Some(value.clone()), "")
    }
    pub fn not_found(field: impl Into<String>, value: &Value) -> Self {
        Self::of(Fault::NotFound, field, Some(value.clone()), "")
    }
    pub fn forbidden(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::of(Fault::Forbidden, field, None, detail)
    }
    pub fn type_invalid(
        field: impl Into<String>,
        value: &Value,
        detail: impl Into<String>,
    ) -> Self {
        Self::of(Fault::TypeInvalid, field, Some(value.clone()), detail)
    }
    pub fn not_supported(field: impl Into<String>, value: &Value, supported: &[&str]) -> Self {
        let quoted: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        let detail = if quoted.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", quoted.join(", "))
        };
        Self::of(Fault::NotSupported, field, Some(value.clone()), detail)
    }
    /// `max` in bytes.
    pub fn too_long(field: impl Into<String>, max: usize) -> Self {
        let detail = format!("may not be more than {max} bytes");
        Self::of(Fault::TooLong, field, None, detail)
    }
    pub fn too_many(field: impl Into<String>, actual: usize, max: usize) -> Self {
        let noun = if max == 1 { "item" } else { "items" };
        let detail = format!("must have at most {max} {noun}");
        Self::of(Fault::TooMany, field, Some(json!(actual)), detail)
    }

    fn of(
        fault: Fault,
        field: impl Into<String>,
        value: Option<Value>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            fault,
            field: field.into(),
            value,
            detail: detail.into(),
        }
    }

    /// The message without the field's path: what `details.causes[].message` carries.
    pub fn body(&self) -> String {
        let mut out = String::from(self.fault.label());
        if let Some(value) = self.shown_value() {
            out.push_str(": ");
            out.push_str(&value);
        }
        if !self.detail.is_empty() {
            out.push_str(": ");
            out.push_str(&self.detail);
        }
        out
    }

    fn shown_value(&self) -> Option<String> {
        match self.fault {
            Fault::Required | Fault::Forbidden | Fault::TooLong | Fault::Internal => None,
            _ => self.value.as_ref().map(|value| match value {
                Value::String(text) => format!("{text:?}"),
                other => other.to_string(),
            }),
        }
    }
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

impl Fault {
    fn label(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::Internal => "InternalError",
        }
    }
}

impl ApiError {
    /// Conflict of an update made from an old version of the object.
    pub fn stale(resource: GroupName, name: &str) -> Self {
        let message = "the object has been modified; please apply your changes to the latest version and try again";
        Self::Conflict {
            resource,
            name: name.to_owned(),
            message: message.to_owned(),
        }
    }

    pub fn forbidden(resource: GroupName, name: &str, message: impl Into<String>) -> Self {
        Self::Forbidden {
            resource: Some(resource),
            name: name.to_owned(),
            message: message.into(),
            causes: Vec::new(),
        }
    }

    /// HTTP status code.
    pub fn code(&self) -> u16 {
        self.code_and_reason().0
    }

    /// `reason` of the Status.
    pub fn reason(&self) -> &'static str {
        self.code_and_reason().1
    }

    /// Seconds for the `Retry-After` header, where the client should come again.
    pub fn retry_after_s(&self) -> Option<u32> {
        match self {
            Self::TooManyRequests { retry_after_s, .. } => Some(*retry_after_s),
            Self::ResourceVersionTooLarge { .. } | Self::NameGenerationExhausted { .. } => Some(1),
            _ => None,
        }
    }

    /// The `v1` Status object that answers the request.
    pub fn status(&self) -> Value {
        let (code, reason) = self.code_and_reason();
        let mut metadata = Map::new();
        if let Self::Expired {
            continue_token: Some(token),
            ..
        } = self
        {
            metadata.insert("continue".into(), json!(token));
        }
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": metadata,
            "status": "Failure",
            "message": self.to_string(),
            "reason": reason,
            "code": code,
        });
        let details = self.details();
        if !details.is_empty() {
            status["details"] = Value::Object(details);
        }
        status
    }

    fn code_and_reason(&self) -> (u16, &'static str) {
        match self {
            Self::NotFound { .. } | Self::UnknownPath => (404, "NotFound"),
            Self::AlreadyExists { .. } | Self::NameGenerationExhausted { .. } => {
                (409, "AlreadyExists")
            }
            Self::Conflict { .. } => (409, "Conflict"),
            Self::Invalid { .. } => (422, "Invalid"),
            Self::BadRequest(_) => (400, "BadRequest"),
            Self::Unauthorized => (401, "Unauthorized"),
            Self::Forbidden { .. } => (403, "Forbidden"),
            Self::MethodNotAllowed { .. } => (405, "MethodNotAllowed"),
            Self::NotAcceptable { .. } => (406, "NotAcceptable"),
            Self::UnsupportedMediaType { .. } => (415, "UnsupportedMediaType"),
            Self::Expired { .. } => (410, "Expired"),
            Self::ResourceVersionTooLarge { .. } | Self::Timeout { .. } => (504, "Timeout"),
            Self::TooManyRequests { .. } => (429, "TooManyRequests"),
            Self::RequestEntityTooLarge { .. } => (413, "RequestEntityTooLarge"),
            Self::Internal(_) => (500, "InternalError"),
            Self::ServiceUnavailable(_) => (503, "ServiceUnavailable"),
        }
    }

    fn details(&self) -> Map<String, Value> {
        let mut details = Map::new();
        let (subject, name) = self.subject();
        if !name.is_empty() {
            details.insert("name".into(), json!(name));
        }
        if let Some(subject) = subject {
            if !subject.group.is_empty() {
                details.insert("group".into(), json!(subject.group));
            }
            details.insert("kind".into(), json!(subject.name));
        }
        let causes = self.causes();
        if !causes.is_empty() {
            details.insert("causes".into(), Value::Array(causes));
        }
        if let Some(seconds) = self.retry_after_s() {
            details.insert("retryAfterSeconds".into(), json!(seconds));
        }
        details
    }

    fn subject(&self) -> (Option<&GroupName>, &str) {
        match self {
            Self::NotFound { resource, name }
            | Self::AlreadyExists { resource, name }
            | Self::NameGenerationExhausted { resource, name }
            | Self::Conflict { resource, name, .. } => (Some(resource), name),
            Self::Invalid { kind, name, .. } => (Some(kind), name),
            Self::Forbidden { resource, name, .. } => (resource.as_ref(), name),
            Self::MethodNotAllowed { resource, .. } => (Some(resource), ""),
            _ => (None, ""),
        }
    }

    fn causes(&self) -> Vec<Value> {
        match self {
            Self::Invalid { errors, .. } => errors
                .iter()
                .map(|e| json!({"reason": e.fault.reason(), "message": e.body(), "field": e.field}))
                .collect(),
            Self::Forbidden { causes, .. } | Self::TooManyRequests { causes, .. } => {
                causes.iter().map(Cause::value).collect()
            }
            Self::ResourceVersionTooLarge { .. } => {
                vec![
                    json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}),
                ]
            }
            Self::Internal(message) => vec![json!({"message": message})],
            _ => Vec::new(),
        }
    }
}

impl Cause {
    fn value(&self) -> Value {
        let mut out = Map::new();
        out.insert("reason".into(), json!(self.reason));
        out.insert("message".into(), json!(self.message));
        if !self.field.is_empty() {
            out.insert("field".into(), json!(self.field));
        }
        Value::Object(out)
    }
}

/// Upstream's aggregate text: one error bare, several in brackets, repeats once.
fn joined(errors: &[FieldError]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for error in errors {
        let text = error.to_string();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    match texts.len() {
        1 => texts.remove(0),
        _ => format!("[{}]", texts.join(", ")),
    }
}

fn forbidden_message(resource: Option<&GroupName>, name: &str, message: &str) -> String {
    match resource {
        None => format!("forbidden: {message}"),
        Some(resource) if name.is_empty() => format!("{resource} is forbidden: {message}"),
        Some(resource) => format!("{resource} \"{name}\" is forbidden: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_names_every_field_once() {
        let error = ApiError::Invalid {
            kind: GroupName::new("apps", "Deployment"),
            name: "web".into(),
            errors: vec![
                FieldError::required("spec.selector", ""),
                FieldError::invalid(
                    "spec.replicas",
                    &json!(-1),
                    "must be greater than or equal to 0",
                ),
            ],
        };
        assert_eq!(
            error.to_string(),
            "Deployment.apps \"web\" is invalid: [spec.selector: Required value, \
             spec.replicas: Invalid value: -1: must be greater than or equal to 0]"
        );
        let status = error.status();
        assert_eq!(status["code"], 422);
        assert_eq!(
            status["details"]["causes"][0]["reason"],
            "FieldValueRequired"
        );
        assert_eq!(status["details"]["causes"][1]["field"], "spec.replicas");
    }

    #[test]
    fn not_found_carries_kind_group_and_name() {
        let error = ApiError::NotFound {
            resource: GroupName::new("apps", "deployments"),
            name: "web".into(),
        };
        let status = error.status();
        assert_eq!(status["message"], "deployments.apps \"web\" not found");
        assert_eq!(
            status["details"],
            json!({"name": "web", "group": "apps", "kind": "deployments"})
        );
    }

    #[test]
    fn an_expired_page_carries_the_next_token() {
        let error = ApiError::Expired {
            message: "gone".into(),
            continue_token: Some("abc".into()),
        };
        assert_eq!(error.status()["metadata"]["continue"], "abc");
    }
}
