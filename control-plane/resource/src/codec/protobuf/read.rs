//! From the wire to the tree.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::WireError;
use super::wire::{Raw, Reader};
use crate::codec::findings::MAX_DEPTH;
use crate::codec::instant;
use crate::schema::{Field, Form, Shape, Type, TypeId, Value as FieldType, arena};

pub(super) fn message(
    of: &'static Type,
    bytes: &[u8],
    depth: usize,
) -> Result<Map<String, Value>, WireError> {
    if depth > MAX_DEPTH {
        return Err(WireError::TooDeep);
    }
    let mut object = Map::new();
    let mut reader = Reader::new(bytes);
    while let Some((number, raw)) = reader.next()? {
        // Unknown numbers are a newer client's fields.
        let Some(field) = of.fields.iter().find(|field| field.number == number) else {
            continue;
        };
        match (field.shape, field.value) {
            (Shape::One, FieldType::Message(id)) if field.inline => {
                object.extend(message(arena().get(id), raw.bytes(field.name)?, depth + 1)?);
            }
            (Shape::One, _) => {
                object.insert(field.name.to_owned(), value(field, raw, depth)?);
            }
            (Shape::List, _) => {
                let item = value(field, raw, depth)?;
                let list = object
                    .entry(field.name)
                    .or_insert_with(|| Value::Array(Vec::new()));
                list.as_array_mut()
                    .expect("only this field writes under its name")
                    .push(item);
            }
            (Shape::Map, _) => {
                let (key, item) = entry(field, raw.bytes(field.name)?, depth)?;
                let map = object
                    .entry(field.name)
                    .or_insert_with(|| Value::Object(Map::new()));
                map.as_object_mut()
                    .expect("only this field writes under its name")
                    .insert(key, item);
            }
        }
    }
    Ok(object)
}

fn entry(field: &Field, bytes: &[u8], depth: usize) -> Result<(String, Value), WireError> {
    let (mut key, mut item) = (String::new(), Value::Null);
    let mut reader = Reader::new(bytes);
    while let Some((number, raw)) = reader.next()? {
        match number {
            1 => key = raw.text(field.name)?,
            2 => item = value(field, raw, depth)?,
            _ => {}
        }
    }
    Ok((key, item))
}

fn value(field: &Field, raw: Raw<'_>, depth: usize) -> Result<Value, WireError> {
    let name = field.name;
    Ok(match field.value {
        FieldType::String => Value::String(raw.text(name)?),
        FieldType::Bool => Value::Bool(raw.varint(name)? != 0),
        FieldType::Int32 => Value::from(raw.varint(name)? as u32 as i32),
        FieldType::Int64 => Value::from(raw.varint(name)? as i64),
        FieldType::Double => Value::from(raw.double(name)?),
        FieldType::Bytes => Value::String(STANDARD.encode(raw.bytes(name)?)),
        FieldType::Message(id) => special(name, id, raw.bytes(name)?, depth + 1)?,
    })
}

fn special(name: &str, id: TypeId, bytes: &[u8], depth: usize) -> Result<Value, WireError> {
    let of = arena().get(id);
    let bad = |reason: &str| WireError::BadValue {
        field: name.to_owned(),
        reason: reason.to_owned(),
    };
    match of.form {
        Form::Struct => message(of, bytes, depth).map(Value::Object),
        Form::Time | Form::MicroTime => {
            let (seconds, nanos) = (varint(bytes, 1)? as i64, varint(bytes, 2)? as i32);
            if seconds == 0 && nanos == 0 {
                return Ok(Value::Null);
            }
            let at = Timestamp::new(seconds, nanos).map_err(|_| bad("no time"))?;
            Ok(Value::String(match of.form {
                Form::Time => instant::time_text(at),
                _ => instant::micro_time_text(at),
            }))
        }
        Form::Duration => Ok(Value::String(instant::duration_text(
            varint(bytes, 1)? as i64
        ))),
        Form::Quantity => {
            let text = text(bytes, 1)?.unwrap_or_default();
            Ok(Value::String(if text.is_empty() {
                "0".to_owned()
            } else {
                text
            }))
        }
        Form::IntOrString => match varint(bytes, 1)? {
            0 => Ok(Value::from(varint(bytes, 2)? as u32 as i32)),
            _ => Ok(Value::String(text(bytes, 3)?.unwrap_or_default())),
        },
        Form::Raw => {
            let json = length_delimited(bytes, 1)?;
            match json.first() {
                None => Ok(Value::Null),
                Some(json) => serde_json::from_slice(json).map_err(|_| bad("no JSON")),
            }
        }
        Form::Strings => texts(bytes, 1),
        Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings => {
            schema_or(of, bytes, depth)
        }
    }
}

/// A schema where there is one, else the other half.
fn schema_or(of: &'static Type, bytes: &[u8], depth: usize) -> Result<Value, WireError> {
    let field = |at: usize| &of.fields[at];
    let (schema, other) = match of.form {
        Form::SchemaOrBool => (field(1), field(0)),
        _ => (field(0), field(1)),
    };
    let FieldType::Message(id) = schema.value else {
        return Ok(Value::Null);
    };
    if let Some(bytes) = length_delimited(bytes, schema.number)?.first() {
        return message(arena().get(id), bytes, depth).map(Value::Object);
    }
    match of.form {
        Form::SchemaOrBool => Ok(Value::Bool(varint(bytes, other.number)? != 0)),
        Form::SchemaOrStrings => texts(bytes, other.number),
        _ => {
            let items = length_delimited(bytes, other.number)?;
            let items = items
                .into_iter()
                .map(|item| message(arena().get(id), item, depth).map(Value::Object));
            items.collect::<Result<_, _>>().map(Value::Array)
        }
    }
}

fn varint(bytes: &[u8], wanted: u32) -> Result<u64, WireError> {
    let mut found = 0;
    let mut reader = Reader::new(bytes);
    while let Some((number, raw)) = reader.next()? {
        if number == wanted {
            found = raw.varint("")?;
        }
    }
    Ok(found)
}

fn text(bytes: &[u8], wanted: u32) -> Result<Option<String>, WireError> {
    let found = length_delimited(bytes, wanted)?;
    found
        .last()
        .map(|bytes| Raw::Bytes(bytes).text(""))
        .transpose()
}

fn texts(bytes: &[u8], wanted: u32) -> Result<Value, WireError> {
    let found = length_delimited(bytes, wanted)?;
    let texts = found
        .into_iter()
        .map(|bytes| Raw::Bytes(bytes).text("").map(Value::String));
    texts.collect::<Result<_, _>>().map(Value::Array)
}

fn length_delimited(bytes: &[u8], wanted: u32) -> Result<Vec<&[u8]>, WireError> {
    let mut found = Vec::new();
    let mut reader = Reader::new(bytes);
    while let Some((number, raw)) = reader.next()? {
        if number == wanted {
            found.push(raw.bytes("")?);
        }
    }
    Ok(found)
}
