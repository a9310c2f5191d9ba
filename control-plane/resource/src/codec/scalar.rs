//! Leaves of the tree: which values a place accepts, in which text they are kept, and what absence means.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::instant;
use super::quantity::Quantity;
use super::walk::Expect;
use crate::schema::{Field, Form, Shape, Type, Value as FieldType, arena};

pub(super) enum Refusal {
    /// Not the type that is expected here.
    Type,
    /// The right type with a text that means nothing.
    Text(String),
}

/// The normal form of a scalar, `None` where it is the zero that an absent field means.
pub(super) fn accept(
    expect: Expect,
    form: Option<Form>,
    value: Value,
) -> Result<Option<Value>, Refusal> {
    if let Some(form) = form {
        return accept_form(form, value).map(|value| Some(value).filter(|v| !v.is_null()));
    }
    let (scalar, optional) = match expect {
        Expect::String => (FieldType::String, false),
        Expect::Item(field) => (field.value, false),
        Expect::Field(field) if field.shape == Shape::One => {
            (field.value, !field.pointer && !field.keep)
        }
        Expect::Field(_) | Expect::Struct(_) => return Err(Refusal::Type),
    };
    let value = accept_scalar(scalar, value)?;
    Ok(if optional && is_zero(&value) {
        None
    } else {
        Some(value)
    })
}

fn accept_scalar(scalar: FieldType, value: Value) -> Result<Value, Refusal> {
    let fits = match (scalar, &value) {
        (FieldType::String, Value::String(_)) | (FieldType::Bool, Value::Bool(_)) => true,
        (FieldType::Int32, Value::Number(n)) => {
            n.as_i64().is_some_and(|n| i32::try_from(n).is_ok())
        }
        (FieldType::Int64, Value::Number(n)) => n.is_i64(),
        (FieldType::Double, Value::Number(_)) => true,
        (FieldType::Bytes, Value::String(text)) => return bytes(text),
        _ => false,
    };
    if fits { Ok(value) } else { Err(Refusal::Type) }
}

fn bytes(text: &str) -> Result<Value, Refusal> {
    let compact: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    match STANDARD.decode(&compact) {
        Ok(_) => Ok(Value::String(compact)),
        Err(
            base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _),
        ) => Err(Refusal::Text(format!(
            "illegal base64 data at input byte {at}"
        ))),
        Err(_) => Err(Refusal::Text(format!(
            "illegal base64 data at input byte {}",
            compact.len() / 4 * 4
        ))),
    }
}

fn accept_form(form: Form, value: Value) -> Result<Value, Refusal> {
    match (form, value) {
        (Form::Time, Value::String(text)) => {
            time(&text).map(|at| Value::String(instant::time_text(at)))
        }
        (Form::MicroTime, Value::String(text)) => {
            time(&text).map(|at| Value::String(instant::micro_time_text(at)))
        }
        (Form::Duration, Value::String(text)) => match instant::parse_duration(&text) {
            Some(nanos) => Ok(Value::String(instant::duration_text(nanos))),
            None => Err(Refusal::Text(format!("time: invalid duration {text:?}"))),
        },
        (Form::Quantity, Value::String(text)) => quantity(&text),
        (Form::Quantity, Value::Number(number)) => quantity(&number.to_string()),
        (Form::IntOrString, value @ Value::String(_)) => Ok(value),
        (Form::IntOrString, Value::Number(number)) => match number.as_i64().map(i32::try_from) {
            Some(Ok(_)) => Ok(Value::Number(number)),
            _ => Err(Refusal::Type),
        },
        (Form::SchemaOrBool, value @ Value::Bool(_)) => Ok(value),
        _ => Err(Refusal::Type),
    }
}

fn time(text: &str) -> Result<jiff::Timestamp, Refusal> {
    let layout = "2006-01-02T15:04:05Z07:00";
    instant::parse_time(text).ok_or_else(|| {
        Refusal::Text(format!(
            "parsing time {text:?} as {layout:?}: cannot parse {text:?} as {layout:?}"
        ))
    })
}

fn quantity(text: &str) -> Result<Value, Refusal> {
    let pattern = "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$";
    match Quantity::parse(text) {
        Some(quantity) => Ok(Value::String(quantity.canonical())),
        None => Err(Refusal::Text(format!(
            "quantities must match the regular expression '{pattern}'"
        ))),
    }
}

/// Adds what Go's encoder writes though nobody said it: zero scalars without `omitempty`, structs by value.
pub(super) fn complete(of: &Type, object: &mut Map<String, Value>) {
    for field in arena().members(of) {
        if field.shape == Shape::One
            && !field.pointer
            && !object.contains_key(field.name)
            && let Some(value) = implied(field)
        {
            object.insert(field.name.to_owned(), value);
        }
    }
}

fn implied(field: &Field) -> Option<Value> {
    match field.value {
        // Structs by value are written whatever `omitempty` says; a zero time is not.
        FieldType::Message(id) if !field.omitzero => match arena().get(id).form {
            Form::Struct | Form::Quantity | Form::IntOrString => Some(zero(field)),
            _ => None,
        },
        FieldType::Message(_) => None,
        _ if field.keep => Some(zero(field)),
        _ => None,
    }
}

/// What Go puts into a list or map for null.
pub(super) fn zero(field: &Field) -> Value {
    match field.value {
        FieldType::String | FieldType::Bytes => Value::String(String::new()),
        FieldType::Bool => Value::Bool(false),
        FieldType::Int32 | FieldType::Int64 | FieldType::Double => Value::from(0),
        FieldType::Message(id) => match arena().get(id).form {
            Form::Struct => {
                let mut object = Map::new();
                complete(arena().get(id), &mut object);
                Value::Object(object)
            }
            Form::Quantity => Value::String("0".to_owned()),
            Form::IntOrString => Value::from(0),
            Form::Strings => Value::Array(Vec::new()),
            _ => Value::Null,
        },
    }
}

pub(super) fn zero_of(expect: Expect) -> Value {
    match expect {
        Expect::Item(field) | Expect::Field(field) => zero(field),
        Expect::String => Value::String(String::new()),
        Expect::Struct(_) => Value::Object(Map::new()),
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(_) | Value::Object(_) => false,
    }
}

/// Go's name for the expected type, as decode errors print it.
pub(super) fn go_type(expect: Expect) -> String {
    let (field, shape) = match expect {
        Expect::Struct(of) => return of.go_name().to_owned(),
        Expect::String => return "string".to_owned(),
        Expect::Field(field) => (field, field.shape),
        Expect::Item(field) => (field, Shape::One),
    };
    let value = match field.value {
        FieldType::String => "string",
        FieldType::Bool => "bool",
        FieldType::Int32 => "int32",
        FieldType::Int64 => "int64",
        FieldType::Double => "float64",
        FieldType::Bytes => "[]uint8",
        FieldType::Message(id) => arena().get(id).go_name(),
    };
    match shape {
        Shape::One => value.to_owned(),
        Shape::List => format!("[]{value}"),
        Shape::Map => format!("map[string]{value}"),
    }
}
