//! Reads any self-describing document (JSON text, YAML's tree, a patched tree) along the schema.
//!
//! One pass finds unknown and duplicate fields in document order, checks types and leaves the normal form.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::findings::{Findings, MAX_DEPTH};
use super::scalar;
use crate::schema::{Field, Form, Shape, Type, Value as FieldType, arena};

/// What stands at a place in the document.
#[derive(Clone, Copy)]
pub(super) enum Expect {
    Struct(&'static Type),
    /// The value of a field, whole.
    Field(&'static Field),
    /// One item of a list or map field.
    Item(&'static Field),
    String,
}

/// Reads one place. `None` means: as if absent.
pub(super) struct Place<'f> {
    pub findings: &'f mut Findings,
    pub expect: Expect,
    /// The innermost struct, for messages.
    pub owner: &'static str,
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.findings.depth() > MAX_DEPTH {
            self.findings
                .fail(format!("exceeded max depth of {MAX_DEPTH}"));
            return Err(D::Error::custom("too deep"));
        }
        if self.form() == Some(Form::Raw) {
            let raw = <Value as serde::Deserialize>::deserialize(deserializer)?;
            return Ok(Some(raw).filter(|value| !value.is_null()));
        }
        deserializer.deserialize_any(self)
    }
}

impl Place<'_> {
    /// The message type expected here as one value.
    fn message(&self) -> Option<&'static Type> {
        match self.expect {
            Expect::Struct(of) => Some(of),
            Expect::Field(field) if field.shape != Shape::One => None,
            Expect::Field(field) | Expect::Item(field) => match field.value {
                FieldType::Message(id) => Some(arena().get(id)),
                _ => None,
            },
            Expect::String => None,
        }
    }

    fn form(&self) -> Option<Form> {
        self.message().map(|of| of.form)
    }

    fn wrong<E: Error>(self, found: &str) -> E {
        let expected = scalar::go_type(self.expect);
        // Go shows the number only where another number would have fitted.
        let found = match found.split_once(' ') {
            Some((kind, _)) if !expected.starts_with("int") => kind,
            _ => found,
        };
        self.findings.wrong_type(found, self.owner, &expected);
        E::custom("type")
    }

    fn take<E: Error>(self, found: &str, value: Value) -> Result<Option<Value>, E> {
        match scalar::accept(self.expect, self.form(), value) {
            Ok(accepted) => Ok(accepted),
            Err(scalar::Refusal::Type) => Err(self.wrong(found)),
            Err(scalar::Refusal::Text(reason)) => {
                self.findings.fail(reason);
                Err(E::custom("value"))
            }
        }
    }

    fn read_struct<'de, A: MapAccess<'de>>(
        self,
        of: &'static Type,
        mut map: A,
    ) -> Result<Value, A::Error> {
        let mut object = Map::new();
        let mut seen: BTreeSet<String> = BTreeSet::new();
        let owner = of.short_name();
        while let Some(key) = map.next_key::<String>()? {
            let expect = match arena().member(of, &key) {
                Some(field) => Expect::Field(field),
                None if of.with_type_meta && (key == "apiVersion" || key == "kind") => {
                    Expect::String
                }
                None => {
                    self.findings.unknown(&key);
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if seen.contains(&key) {
                self.findings.duplicate(&key);
            }
            self.findings.enter_key(&key);
            let place = Place {
                findings: &mut *self.findings,
                expect,
                owner,
            };
            let value = map.next_value_seed(place)?;
            self.findings.leave();
            match value {
                Some(value) => object.insert(key.clone(), value),
                None => object.remove(&key),
            };
            seen.insert(key);
        }
        scalar::complete(of, &mut object);
        Ok(Value::Object(object))
    }

    fn read_map<'de, A: MapAccess<'de>>(
        self,
        field: &'static Field,
        mut map: A,
    ) -> Result<Option<Value>, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if object.contains_key(&key) {
                self.findings.duplicate(&key);
            }
            self.findings.enter_map_key(&key);
            let place = Place {
                findings: &mut *self.findings,
                expect: Expect::Item(field),
                owner: self.owner,
            };
            let value = map.next_value_seed(place)?;
            self.findings.leave();
            object.insert(key, value.unwrap_or_else(|| scalar::zero(field)));
        }
        let empty = object.is_empty() && !field.keep && !field.pointer;
        Ok((!empty).then_some(Value::Object(object)))
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = Option<Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value of the schema")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        self.take("bool", Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        self.take(&format!("number {value}"), Value::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        self.take(&format!("number {value}"), Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        self.take(&format!("number {value}"), Value::from(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        self.take("string", Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Self::Value, E> {
        self.take("string", Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let item = match (self.expect, self.message()) {
            (Expect::Field(field), None) if field.shape == Shape::List => Expect::Item(field),
            (_, Some(of)) => match of.form {
                Form::Strings | Form::SchemaOrStrings => Expect::String,
                // Field 1 is the schema itself.
                Form::SchemaOrArray => Expect::Item(&of.fields[0]),
                _ => return Err(self.wrong("array")),
            },
            _ => return Err(self.wrong("array")),
        };
        let mut list = Vec::new();
        loop {
            self.findings.enter_index(list.len());
            let place = Place {
                findings: &mut *self.findings,
                expect: item,
                owner: self.owner,
            };
            let next = seq.next_element_seed(place)?;
            self.findings.leave();
            match next {
                Some(value) => list.push(value.unwrap_or_else(|| scalar::zero_of(item))),
                None => break,
            }
        }
        let empty = list.is_empty()
            && matches!(self.expect, Expect::Field(field) if !field.keep && !field.pointer);
        Ok((!empty).then_some(Value::Array(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        match (self.expect, self.message()) {
            (_, Some(of)) => match of.form {
                Form::Struct => self.read_struct(of, map).map(Some),
                Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings => {
                    let schema = of.fields.iter().find_map(|field| match field.value {
                        FieldType::Message(id) if field.shape == Shape::One => {
                            Some(arena().get(id))
                        }
                        _ => None,
                    });
                    match schema {
                        Some(schema) => self.read_struct(schema, map).map(Some),
                        None => Err(self.wrong("object")),
                    }
                }
                _ => Err(self.wrong("object")),
            },
            (Expect::Field(field), None) if field.shape == Shape::Map => self.read_map(field, map),
            _ => Err(self.wrong("object")),
        }
    }
}
