//! Label selectors: `app=web,tier in (a,b),!legacy` (`apimachinery/pkg/labels/selector.go`).

use serde_json::Value;

use crate::error::ApiError;

/// All requirements must hold; without any it selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
    Above(i64),
    Below(i64),
}

impl LabelSelector {
    /// # Errors
    /// 400 with the place that cannot be read.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let mut parser = Parser { rest: text.trim() };
        let mut requirements = Vec::new();
        while !parser.rest.is_empty() {
            requirements.push(
                parser
                    .requirement()
                    .ok_or_else(|| unreadable(text, parser.rest))?,
            );
            if parser.rest.is_empty() {
                break;
            }
            // A comma must be followed by another requirement.
            if !parser.eat(",") || parser.rest.is_empty() {
                return Err(unreadable(text, parser.rest));
            }
        }
        Ok(Self { requirements })
    }

    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    pub fn matches(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        let label = |key: &str| labels.and_then(|l| l.get(key)).and_then(Value::as_str);
        self.requirements
            .iter()
            .all(|r| r.test.holds(label(&r.key)))
    }
}

impl Test {
    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|v| v.parse::<i64>().ok());
        match self {
            Self::In(values) => value.is_some_and(|v| values.iter().any(|w| w == v)),
            Self::NotIn(values) => value.is_none_or(|v| values.iter().all(|w| w != v)),
            Self::Exists => value.is_some(),
            Self::Absent => value.is_none(),
            Self::Above(bound) => number().is_some_and(|n| n > *bound),
            Self::Below(bound) => number().is_some_and(|n| n < *bound),
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn requirement(&mut self) -> Option<Requirement> {
        if self.eat("!") {
            let key = self.key()?;
            return Some(Requirement {
                key,
                test: Test::Absent,
            });
        }
        let key = self.key()?;
        let test = self.test()?;
        Some(Requirement { key, test })
    }

    fn test(&mut self) -> Option<Test> {
        if self.eat("!=") {
            return Some(Test::NotIn(vec![self.value()?]));
        }
        if self.eat("==") || self.eat("=") {
            return Some(Test::In(vec![self.value()?]));
        }
        if self.eat(">") {
            return Some(Test::Above(self.value()?.parse().ok()?));
        }
        if self.eat("<") {
            return Some(Test::Below(self.value()?.parse().ok()?));
        }
        if self.eat_word("in") {
            return Some(Test::In(self.values()?));
        }
        if self.eat_word("notin") {
            return Some(Test::NotIn(self.values()?));
        }
        Some(Test::Exists)
    }

    fn values(&mut self) -> Option<Vec<String>> {
        if !self.eat("(") {
            return None;
        }
        let mut values = Vec::new();
        loop {
            values.push(self.value()?);
            if self.eat(")") {
                return Some(values);
            }
            if !self.eat(",") {
                return None;
            }
        }
    }

    fn key(&mut self) -> Option<String> {
        let key = self.take(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
        let name = key.rsplit('/').next().unwrap_or_default();
        let fits = !name.is_empty() && name.len() <= 63 && key.matches('/').count() <= 1;
        fits.then(|| key.to_owned())
    }

    /// Values may be empty.
    fn value(&mut self) -> Option<String> {
        let value = self.take(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        (value.len() <= 63).then(|| value.to_owned())
    }

    fn take(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        taken
    }

    fn eat(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let follows = self.rest.strip_prefix(word).map(str::trim_start);
        follows.is_some_and(|rest| rest.starts_with('(')) && self.eat(word)
    }
}

fn unreadable(text: &str, rest: &str) -> ApiError {
    ApiError::BadRequest(format!(
        "unable to parse requirement: {text:?} near {rest:?}"
    ))
}
