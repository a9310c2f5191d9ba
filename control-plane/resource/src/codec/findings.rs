//! What a decoder has seen so far: where it is, which fields it did not know, which it met twice.

use std::fmt::Write;

/// Structures nested deeper are refused: no type of the API nests so far, and recursion must end.
pub(super) const MAX_DEPTH: usize = 100;
/// More findings than this say nothing new and would let a body grow the answer.
const MAX_FINDINGS: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Findings {
    path: Vec<Step>,
    /// In the order of the document.
    pub strict: Vec<String>,
    /// Why decoding ended, when it did.
    pub failure: Option<String>,
}

#[derive(Debug)]
enum Step {
    Key(String),
    /// Of a map, which Go's type errors leave out.
    MapKey(String),
    Index(usize),
}

impl Findings {
    pub fn enter_key(&mut self, key: &str) {
        self.path.push(Step::Key(key.to_owned()));
    }

    pub fn enter_map_key(&mut self, key: &str) {
        self.path.push(Step::MapKey(key.to_owned()));
    }

    pub fn enter_index(&mut self, index: usize) {
        self.path.push(Step::Index(index));
    }

    pub fn leave(&mut self) {
        self.path.pop();
    }

    pub fn depth(&self) -> usize {
        self.path.len()
    }

    pub fn unknown(&mut self, key: &str) {
        self.note("unknown", key);
    }

    pub fn duplicate(&mut self, key: &str) {
        self.note("duplicate", key);
    }

    /// Go's text for a value of the wrong type; `found` is Go's name for it.
    pub fn wrong_type(&mut self, found: &str, owner: &str, expected: &str) {
        let fields: Vec<&str> = self
            .path
            .iter()
            .filter_map(|step| match step {
                Step::Key(key) => Some(key.as_str()),
                Step::MapKey(_) | Step::Index(_) => None,
            })
            .collect();
        let place = match fields.is_empty() {
            true => "Go value".to_owned(),
            false => format!("Go struct field {owner}.{}", fields.join(".")),
        };
        self.fail(format!(
            "json: cannot unmarshal {found} into {place} of type {expected}"
        ));
    }

    /// Keeps the first reason.
    pub fn fail(&mut self, reason: String) {
        self.failure.get_or_insert(reason);
    }

    fn note(&mut self, what: &str, key: &str) {
        let path = self.path_to(key);
        let text = format!("{what} field \"{path}\"");
        if self.strict.len() < MAX_FINDINGS && !self.strict.contains(&text) {
            self.strict.push(text);
        }
    }

    fn path_to(&self, key: &str) -> String {
        let mut text = String::new();
        for step in &self.path {
            match step {
                Step::Key(key) | Step::MapKey(key) if text.is_empty() => text.push_str(key),
                Step::Key(key) | Step::MapKey(key) => {
                    text.push('.');
                    text.push_str(key);
                }
                // Writing to a String cannot fail.
                Step::Index(index) => _ = write!(text, "[{index}]"),
            }
        }
        if !text.is_empty() {
            text.push('.');
        }
        text + key
    }
}
