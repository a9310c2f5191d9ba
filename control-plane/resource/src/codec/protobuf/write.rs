//! From the tree to the wire.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::WireError;
use super::wire::{put_bytes, put_double, put_varint_field};
use crate::codec::instant;
use crate::schema::{Field, Form, Shape, Type, Value as FieldType, arena};

pub(super) fn message(
    of: &Type,
    object: &Map<String, Value>,
    out: &mut Vec<u8>,
) -> Result<(), WireError> {
    let mut fields: Vec<&Field> = of.fields.iter().collect();
    fields.sort_by_key(|field| field.number);
    for field in fields {
        match (field.shape, object.get(field.name)) {
            (Shape::One, _) if field.inline => {
                let FieldType::Message(id) = field.value else {
                    continue;
                };
                let mut inner = Vec::new();
                message(arena().get(id), object, &mut inner)?;
                put_bytes(out, field.number, &inner);
            }
            (Shape::One, None | Some(Value::Null)) if field.pointer => {}
            (Shape::One, None) => value(field, field.number, &Value::Null, out)?,
            (Shape::One, Some(found)) => value(field, field.number, found, out)?,
            (Shape::List, Some(Value::Array(items))) => {
                items
                    .iter()
                    .try_for_each(|item| value(field, field.number, item, out))?;
            }
            (Shape::Map, Some(Value::Object(entries))) => {
                for (key, item) in entries {
                    let mut entry = Vec::new();
                    put_bytes(&mut entry, 1, key.as_bytes());
                    value(field, 2, item, &mut entry)?;
                    put_bytes(out, field.number, &entry);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn value(field: &Field, number: u32, found: &Value, out: &mut Vec<u8>) -> Result<(), WireError> {
    match field.value {
        FieldType::String => put_bytes(out, number, found.as_str().unwrap_or_default().as_bytes()),
        FieldType::Bool => {
            put_varint_field(out, number, u64::from(found.as_bool().unwrap_or(false)))
        }
        // Negative numbers take ten bytes, as proto2's int32 says.
        FieldType::Int32 | FieldType::Int64 => {
            put_varint_field(out, number, found.as_i64().unwrap_or(0) as u64);
        }
        FieldType::Double => put_double(out, number, found.as_f64().unwrap_or(0.0)),
        FieldType::Bytes => {
            let bytes = STANDARD
                .decode(found.as_str().unwrap_or_default())
                .map_err(|error| WireError::BadValue {
                    field: field.name.to_owned(),
                    reason: error.to_string(),
                })?;
            put_bytes(out, number, &bytes);
        }
        FieldType::Message(id) => {
            let mut inner = Vec::new();
            special(arena().get(id), found, &mut inner)?;
            put_bytes(out, number, &inner);
        }
    }
    Ok(())
}

fn special(of: &Type, found: &Value, out: &mut Vec<u8>) -> Result<(), WireError> {
    let text = found.as_str();
    match of.form {
        Form::Struct => {
            let empty = Map::new();
            message(of, found.as_object().unwrap_or(&empty), out)?;
        }
        Form::Time | Form::MicroTime => {
            // The zero time is an empty message.
            let Some(at) = text.and_then(instant::parse_time) else {
                return Ok(());
            };
            // metav1.Time has whole seconds in every encoding.
            let nanos = if of.form == Form::MicroTime {
                at.subsec_nanosecond()
            } else {
                0
            };
            put_varint_field(out, 1, at.as_second() as u64);
            put_varint_field(out, 2, i64::from(nanos) as u64);
        }
        Form::Duration => {
            let nanos = text.and_then(instant::parse_duration).unwrap_or(0);
            put_varint_field(out, 1, nanos as u64);
        }
        Form::Quantity => put_bytes(out, 1, text.unwrap_or("0").as_bytes()),
        Form::IntOrString => {
            put_varint_field(out, 1, u64::from(text.is_some()));
            put_varint_field(out, 2, found.as_i64().unwrap_or(0) as u64);
            put_bytes(out, 3, text.unwrap_or_default().as_bytes());
        }
        Form::Raw if found.is_null() => {}
        Form::Raw => put_bytes(out, 1, found.to_string().as_bytes()),
        Form::Strings => texts(found, 1, out),
        Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStrings => {
            schema_or(of, found, out)?
        }
    }
    Ok(())
}

fn schema_or(of: &Type, found: &Value, out: &mut Vec<u8>) -> Result<(), WireError> {
    let schema = of
        .fields
        .iter()
        .find(|field| field.shape == Shape::One && field.pointer);
    let bool_first = of.form == Form::SchemaOrBool;
    if bool_first {
        // gogo writes `allows` always; a schema means true.
        put_varint_field(
            out,
            1,
            u64::from(found.as_bool().unwrap_or(found.is_object())),
        );
    }
    match (schema, found) {
        (Some(schema), Value::Object(_)) => value(schema, schema.number, found, out),
        (Some(schema), Value::Array(items)) if of.form == Form::SchemaOrArray => items
            .iter()
            .try_for_each(|item| value(schema, 2, item, out)),
        (_, Value::Array(_)) => {
            texts(found, 2, out);
            Ok(())
        }
        _ => Ok(()),
    }
}

fn texts(found: &Value, number: u32, out: &mut Vec<u8>) {
    for text in found
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        put_bytes(out, number, text.as_bytes());
    }
}
