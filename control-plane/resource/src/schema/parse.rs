//! Reads the table of facts. The format is described where it is written: `xtask/src/schema_table.rs`.

use std::collections::HashMap;

use super::{Arena, Field, Form, ListType, PatchStrategy, Shape, Type, TypeId, Value};

/// `None` when the table is not one.
pub(super) fn table(text: &'static str) -> Option<Arena> {
    let ids = type_ids(text)?;
    let mut types: Vec<Type> = Vec::new();
    let mut package = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("package ") {
            package = rest.split_once(' ')?.1;
        } else if let Some(rest) = line.strip_prefix("type ") {
            types.push(type_line(package, rest)?);
        } else if let Some(rest) = line.strip_prefix("  ") {
            types.last_mut()?.fields.push(field_line(rest, &ids)?);
        }
    }
    let members: Vec<_> = types
        .iter()
        .enumerate()
        .map(|(at, _)| flatten(&types, TypeId(at as u32)))
        .collect();
    for (of, members) in types.iter_mut().zip(members) {
        of.members = members;
    }
    let by_name = types
        .iter()
        .enumerate()
        .map(|(at, t)| (t.name.clone(), TypeId(at as u32)));
    let by_name = by_name.collect();
    Some(Arena { types, by_name })
}

/// Ids by the table's short names, `core.v1.Pod`, so that a field can name a later type.
fn type_ids(text: &'static str) -> Option<HashMap<String, TypeId>> {
    let mut ids = HashMap::new();
    let mut package = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("package ") {
            package = rest.split_once(' ')?.0;
        } else if let Some(rest) = line.strip_prefix("type ") {
            let name = rest.split(' ').next()?;
            ids.insert(format!("{package}.{name}"), TypeId(ids.len() as u32));
        }
    }
    Some(ids)
}

fn type_line(package: &str, line: &'static str) -> Option<Type> {
    let mut words = line.split(' ');
    let short = words.next()?;
    let mut parsed = Type {
        name: format!("{package}.{short}"),
        form: form_of(package, short),
        fields: Vec::new(),
        with_type_meta: false,
        kind: None,
        atomic: false,
        members: Vec::new(),
    };
    for word in words {
        if word == "meta" {
            parsed.with_type_meta = true;
        } else if word == "granular=no" {
            parsed.atomic = true;
        } else if let Some(kind) = word.strip_prefix("kind=") {
            let mut parts = kind.rsplitn(3, '/');
            let (kind, version) = (parts.next()?, parts.next()?);
            parsed.kind = Some([parts.next()?, version, kind]);
        }
    }
    Some(parsed)
}

/// The types whose JSON is not what their protobuf message says.
fn form_of(package: &str, name: &str) -> Form {
    match name {
        "Time" if package.ends_with("meta.v1") => Form::Time,
        "MicroTime" if package.ends_with("meta.v1") => Form::MicroTime,
        "Duration" if package.ends_with("meta.v1") => Form::Duration,
        "FieldsV1" | "RawExtension" => Form::Raw,
        "JSON" if package.contains("apiextensions") => Form::Raw,
        "Quantity" | "QuantityValue" => Form::Quantity,
        "IntOrString" => Form::IntOrString,
        "Verbs" | "ExtraValue" | "AttestationValue" => Form::Strings,
        "JSONSchemaPropsOrArray" => Form::SchemaOrArray,
        "JSONSchemaPropsOrBool" => Form::SchemaOrBool,
        "JSONSchemaPropsOrStringArray" => Form::SchemaOrStrings,
        _ => Form::Struct,
    }
}

fn field_line(line: &'static str, ids: &HashMap<String, TypeId>) -> Option<Field> {
    let mut words = line.split(' ');
    let (name, number, value) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
    let (shape, value) = match (value.strip_prefix("[]"), value.strip_prefix("map:")) {
        (Some(item), _) => (Shape::List, item),
        (_, Some(item)) => (Shape::Map, item),
        _ => (Shape::One, value),
    };
    let value = match value {
        "string" => Value::String,
        "bool" => Value::Bool,
        "int32" => Value::Int32,
        "int64" => Value::Int64,
        "double" => Value::Double,
        "bytes" => Value::Bytes,
        message => Value::Message(*ids.get(message)?),
    };
    let mut field = Field {
        name,
        number,
        shape,
        value,
        required: false,
        pointer: false,
        keep: false,
        omitzero: false,
        inline: false,
        list: ListType::Unsaid,
        patch: PatchStrategy::default(),
        merge_key: None,
        atomic: false,
        allowed: Vec::new(),
    };
    words.for_each(|word| flag(&mut field, word));
    Some(field)
}

fn flag(field: &mut Field, word: &'static str) {
    match word.split_once('=') {
        None => match word {
            "!" => field.required = true,
            "*" => field.pointer = true,
            "keep" => field.keep = true,
            "omitzero" => field.omitzero = true,
            "inline" => field.inline = true,
            "atomic" => field.list = ListType::Atomic,
            "set" => field.list = ListType::Set,
            _ => {}
        },
        Some(("map", keys)) => field.list = ListType::Map(keys.split(',').collect()),
        Some(("key", key)) => field.merge_key = Some(key),
        Some(("granular", _)) => field.atomic = true,
        Some(("enum", values)) => field.allowed = values.split('|').collect(),
        Some(("patch", strategies)) => {
            for strategy in strategies.split(',') {
                field.patch.merge |= strategy == "merge";
                field.patch.retain_keys |= strategy == "retainKeys";
                field.patch.replace |= strategy == "replace";
            }
        }
        Some(_) => {}
    }
}

fn flatten(types: &[Type], of: TypeId) -> Vec<(&'static str, TypeId, usize)> {
    let mut members = Vec::new();
    for (index, field) in types[of.0 as usize].fields.iter().enumerate() {
        match field.value {
            Value::Message(inlined) if field.inline => members.extend(flatten(types, inlined)),
            _ => members.push((field.name, of, index)),
        }
    }
    members.sort_unstable_by_key(|(name, ..)| *name);
    members
}
