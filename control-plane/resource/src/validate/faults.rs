//! Collects faults with their paths.

use serde_json::Value;

use crate::error::FieldError;

/// More faults than this say nothing new, and the answer must not grow with the body.
const MAX_FAULTS: usize = 100;

/// A field's path in upstream's spelling: `spec.ports[0].name`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Path(String);

impl Path {
    pub fn root(name: &str) -> Self {
        Self(name.to_owned())
    }

    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() {
            Self(name.to_owned())
        } else {
            Self(format!("{}.{name}", self.0))
        }
    }

    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }
}

#[derive(Debug, Default)]
pub(super) struct Faults(Vec<FieldError>);

impl Faults {
    pub fn required(&mut self, at: Path, detail: &str) {
        self.push(FieldError::required(at.0, detail));
    }

    pub fn invalid(&mut self, at: Path, value: &Value, detail: impl Into<String>) {
        self.push(FieldError::invalid(at.0, value, detail));
    }

    /// One fault for each message.
    pub fn each(&mut self, at: &Path, value: &str, messages: Vec<String>) {
        for message in messages {
            self.invalid(at.clone(), &value.into(), message);
        }
    }

    pub fn duplicate(&mut self, at: Path, value: &Value) {
        self.push(FieldError::duplicate(at.0, value));
    }

    pub fn not_found(&mut self, at: Path, value: &Value) {
        self.push(FieldError::not_found(at.0, value));
    }

    pub fn forbidden(&mut self, at: Path, detail: &str) {
        self.push(FieldError::forbidden(at.0, detail));
    }

    pub fn not_supported(&mut self, at: Path, value: &Value, supported: &[&str]) {
        self.push(FieldError::not_supported(at.0, value, supported));
    }

    pub fn too_long(&mut self, at: Path, max_bytes: usize) {
        self.push(FieldError::too_long(at.0, max_bytes));
    }

    pub fn too_many(&mut self, at: Path, actual: usize, max: usize) {
        self.push(FieldError::too_many(at.0, actual, max));
    }

    /// A number below zero.
    pub fn non_negative(&mut self, object: &Value, name: &str, at: &Path) {
        if object[name].as_i64().is_some_and(|number| number < 0) {
            self.invalid(
                at.child(name),
                &object[name],
                "must be greater than or equal to 0",
            );
        }
    }

    /// A text that must be one of these; absent and empty are somebody else's business.
    pub fn one_of(&mut self, object: &Value, name: &str, supported: &[&str], at: &Path) {
        let text = object[name].as_str().unwrap_or_default();
        if !text.is_empty() && !supported.contains(&text) {
            self.not_supported(at.child(name), &object[name], supported);
        }
    }

    pub fn into_errors(self) -> Vec<FieldError> {
        self.0
    }

    fn push(&mut self, error: FieldError) {
        if self.0.len() < MAX_FAULTS {
            self.0.push(error);
        }
    }
}

/// A member's text, empty when it is not there.
pub(super) fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    object[name].as_str().unwrap_or_default()
}

/// The items of a list member, none when it is not there.
pub(super) fn list<'a>(object: &'a Value, name: &str) -> &'a [Value] {
    object[name].as_array().map_or(&[], Vec::as_slice)
}
