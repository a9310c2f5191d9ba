//! Kubernetes' protobuf: the `k8s\0` envelope around a proto2 message whose fields the arena numbers.
//!
//! Facts: `apimachinery/pkg/runtime/serializer/protobuf`, `runtime/generated.proto`. As gogo-proto does, fields by
//! value are always written, maps are sorted, lists are not packed.

mod read;
mod wire;
mod write;

use serde_json::{Map, Value};

use crate::schema::Type;

/// What a body in this encoding starts with.
const MAGIC: &[u8] = b"k8s\0";

#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("provided data does not appear to be a protobuf message, expected prefix 6b 38 73 00")]
    NoMagic,
    #[error("unexpected EOF")]
    Truncated,
    #[error("proto: wrong wireType = {wire} for field {field}")]
    WireType { wire: u8, field: String },
    #[error("proto: integer overflow")]
    Overflow,
    #[error("proto: field {field} is not valid UTF-8")]
    NotText { field: String },
    #[error("proto: field {field} holds {reason}")]
    BadValue { field: String, reason: String },
    #[error("proto: message is nested too deep")]
    TooDeep,
}

/// The tree of a body, not yet normal.
pub(super) fn decode(of: &'static Type, bytes: &[u8]) -> Result<Value, WireError> {
    let unknown = bytes.strip_prefix(MAGIC).ok_or(WireError::NoMagic)?;
    let mut type_meta = Map::new();
    let mut raw: &[u8] = &[];
    let mut reader = wire::Reader::new(unknown);
    while let Some((number, value)) = reader.next()? {
        match (number, value) {
            (1, wire::Raw::Bytes(bytes)) => type_meta = read_type_meta(bytes)?,
            (2, wire::Raw::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let mut object = read::message(of, raw, 0)?;
    if of.with_type_meta {
        object.extend(type_meta);
    }
    Ok(Value::Object(object))
}

pub(super) fn encode(of: &'static Type, object: &Value) -> Result<Vec<u8>, WireError> {
    let text = |name: &str| object[name].as_str().unwrap_or_default();
    let mut type_meta = Vec::new();
    wire::put_bytes(&mut type_meta, 1, text("apiVersion").as_bytes());
    wire::put_bytes(&mut type_meta, 2, text("kind").as_bytes());
    let mut raw = Vec::new();
    let empty = Map::new();
    write::message(of, object.as_object().unwrap_or(&empty), &mut raw)?;
    let mut body = MAGIC.to_vec();
    wire::put_bytes(&mut body, 1, &type_meta);
    wire::put_bytes(&mut body, 2, &raw);
    wire::put_bytes(&mut body, 3, b"");
    wire::put_bytes(&mut body, 4, b"");
    Ok(body)
}

fn read_type_meta(bytes: &[u8]) -> Result<Map<String, Value>, WireError> {
    let mut found = Map::new();
    let mut reader = wire::Reader::new(bytes);
    while let Some((number, value)) = reader.next()? {
        let name = match number {
            1 => "apiVersion",
            2 => "kind",
            _ => continue,
        };
        let text = value.text(name)?;
        if !text.is_empty() {
            found.insert(name.to_owned(), Value::String(text));
        }
    }
    Ok(found)
}
