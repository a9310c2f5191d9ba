//! Strategic merge patch: a merge patch that knows from the schema which lists merge, and by which key.
//!
//! Facts: `apimachinery/pkg/util/strategicpatch`. Directives: `$patch` (replace, delete, merge), `$retainKeys`,
//! `$deleteFromPrimitiveList/FIELD`, `$setElementOrder/FIELD`.

use serde_json::{Map, Value};

use super::PatchError;
use super::order::{Identity, arrange};
use crate::schema::{Field, Form, Shape, Type, Value as FieldType, arena};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_ITEMS: &str = "$deleteFromPrimitiveList/";
const SET_ORDER: &str = "$setElementOrder/";

type Object = Map<String, Value>;

/// Where in the schema a map stands.
#[derive(Clone, Copy)]
enum Schema<'a> {
    Struct(&'a Type),
    /// Values of a map field.
    Map(&'a Field),
    Unknown,
}

pub(super) fn apply(of: &Type, current: &Value, patch: &Value) -> Result<Value, PatchError> {
    match (current, patch) {
        (Value::Object(current), Value::Object(patch)) => {
            merge_maps(Schema::Struct(of), current.clone(), patch.clone()).map(Value::Object)
        }
        _ => Err(malformed("a strategic merge patch must be a JSON object")),
    }
}

fn merge_maps(
    schema: Schema<'_>,
    mut current: Object,
    mut patch: Object,
) -> Result<Object, PatchError> {
    match patch
        .remove(PATCH)
        .as_ref()
        .map(|directive| directive.as_str().unwrap_or_default())
    {
        None => {}
        Some("replace") => return Ok(without_directives(patch)),
        Some("delete") => return Ok(Object::new()),
        Some(other) => return Err(malformed(format!("unknown patch type: {other:?}"))),
    }
    retain_keys(&mut current, &mut patch)?;
    set_orders(schema, &mut current, &mut patch)?;
    for (key, change) in patch {
        if let Some(name) = key.strip_prefix(DELETE_ITEMS) {
            delete_items(&mut current, name, &change)?;
            continue;
        }
        if change.is_null() {
            current.remove(&key);
            continue;
        }
        let merged = match (current.remove(&key), change) {
            (Some(Value::Object(before)), Value::Object(change)) => {
                merge_field(schema, &key, before, change)?
            }
            (Some(Value::Array(before)), Value::Array(change)) => {
                Value::Array(merge_list(schema.field(&key), before, change)?)
            }
            (_, change) => match stripped(change) {
                Some(value) => value,
                None => continue,
            },
        };
        current.insert(key, merged);
    }
    Ok(current)
}

fn merge_field(
    schema: Schema<'_>,
    key: &str,
    before: Object,
    change: Object,
) -> Result<Value, PatchError> {
    match schema.field(key) {
        Some(field) if field.patch.replace => Ok(Value::Object(without_directives(change))),
        field => merge_maps(schema.below(field), before, change).map(Value::Object),
    }
}

impl<'a> Schema<'a> {
    fn field(self, key: &str) -> Option<&'a Field> {
        match self {
            Schema::Struct(of) => arena().member(of, key),
            Schema::Map(_) | Schema::Unknown => None,
        }
    }

    fn below(self, field: Option<&'a Field>) -> Schema<'a> {
        match (self, field) {
            (Schema::Struct(_), Some(field)) if field.shape == Shape::Map => Schema::Map(field),
            (Schema::Struct(_), Some(field)) | (Schema::Map(field), _) => item_schema(field),
            _ => Schema::Unknown,
        }
    }
}

fn item_schema(field: &Field) -> Schema<'static> {
    match field.value {
        FieldType::Message(id) => {
            let of = arena().get(id);
            if of.form == Form::Struct {
                Schema::Struct(of)
            } else {
                Schema::Unknown
            }
        }
        _ => Schema::Unknown,
    }
}

/// `$retainKeys`: only the named members survive.
fn retain_keys(current: &mut Object, patch: &mut Object) -> Result<(), PatchError> {
    let Some(directive) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let Value::Array(keys) = directive else {
        return Err(malformed("$retainKeys must be a list"));
    };
    let kept = |name: &String| keys.iter().any(|key| key == name.as_str());
    let stray = patch
        .iter()
        .find(|(name, value)| !value.is_null() && !name.starts_with('$') && !kept(name));
    if let Some((name, _)) = stray {
        return Err(malformed(format!(
            "the patch sets {name:?}, which $retainKeys does not name"
        )));
    }
    current.retain(|name, _| kept(name));
    Ok(())
}

/// `$setElementOrder/FIELD`: merges that list now and puts it in the given order.
fn set_orders(
    schema: Schema<'_>,
    current: &mut Object,
    patch: &mut Object,
) -> Result<(), PatchError> {
    let directives: Vec<String> = patch
        .keys()
        .filter(|key| key.starts_with(SET_ORDER))
        .cloned()
        .collect();
    for directive in directives {
        let name = &directive[SET_ORDER.len()..];
        let Some(Value::Array(order)) = patch.remove(&directive) else {
            return Err(malformed(format!("{directive} must be a list")));
        };
        if let Some(gone) = patch.get(&format!("{DELETE_ITEMS}{name}")).cloned() {
            delete_items(current, name, &gone)?;
        }
        let field = schema.field(name);
        let before = current.remove(name).and_then(into_list);
        let change = match patch.remove(name) {
            Some(Value::Null) => {
                // The list is deleted; there is nothing to order.
                continue;
            }
            other => other.and_then(into_list),
        };
        let identity = identity_of(field);
        check_order(
            change.as_deref().unwrap_or_default(),
            &order,
            identity,
            &directive,
        )?;
        let merged = match (before.clone(), change) {
            (None, None) => continue,
            (Some(before), None) => before,
            (None, Some(change)) => change.into_iter().filter_map(stripped).collect(),
            (Some(before), Some(change)) => merge_list(field, before, change)?,
        };
        let arranged = arrange(merged, &order, &before.unwrap_or_default(), identity);
        current.insert(name.to_owned(), Value::Array(arranged));
    }
    Ok(())
}

/// What the patch puts into a list must stand in its order, too.
fn check_order(
    change: &[Value],
    order: &[Value],
    identity: Identity<'_>,
    directive: &str,
) -> Result<(), PatchError> {
    let mut places = order.iter();
    let mut items = change.iter().filter(|item| item.get(PATCH).is_none());
    let ordered = items.all(|item| places.any(|place| identity.same(place, item)));
    if ordered || order.is_empty() {
        return Ok(());
    }
    Err(malformed(format!(
        "The order in patch list:\n{change:?}\n doesn't match {directive} list:\n{order:?}\n"
    )))
}

fn merge_list(
    field: Option<&Field>,
    before: Vec<Value>,
    change: Vec<Value>,
) -> Result<Vec<Value>, PatchError> {
    let Some(field) = field.filter(|field| field.patch.merge) else {
        return Ok(change.into_iter().filter_map(stripped).collect());
    };
    let identity = identity_of(Some(field));
    let Identity::Key(key) = identity else {
        let mut merged = before.clone();
        let fresh: Vec<&Value> = change
            .iter()
            .filter(|item| !before.contains(item))
            .collect();
        for item in fresh {
            if !merged.contains(item) {
                merged.push(item.clone());
            }
        }
        return Ok(arrange(merged, &change, &before, identity));
    };
    let mut replaces = false;
    let mut merged = before.clone();
    let mut changes = Vec::new();
    for mut item in change {
        match item.as_object_mut().and_then(|item| item.remove(PATCH)) {
            None => changes.push(item),
            Some(directive) => match directive.as_str() {
                // The directive stands alone; the other items are the new list.
                Some("replace") => replaces = true,
                Some("delete") => {
                    need_key(&item, key)?;
                    merged.retain(|other| !identity.same(other, &item));
                }
                _ => return Err(malformed(format!("unknown patch type: {directive}"))),
            },
        }
    }
    if replaces {
        return Ok(changes.into_iter().filter_map(stripped).collect());
    }
    for item in &changes {
        need_key(item, key)?;
        match identity.position(&merged, item) {
            None => merged.extend(stripped(item.clone())),
            Some(at) => {
                if let (Value::Object(own), Value::Object(item)) = (merged[at].take(), item.clone())
                {
                    merged[at] = Value::Object(merge_maps(item_schema(field), own, item)?);
                }
            }
        }
    }
    Ok(arrange(merged, &changes, &before, identity))
}

fn need_key(item: &Value, key: &str) -> Result<(), PatchError> {
    match item.get(key) {
        Some(value) if !value.is_null() => Ok(()),
        _ => Err(malformed(format!(
            "map: {item} does not contain declared merge key: {key}"
        ))),
    }
}

fn identity_of(field: Option<&Field>) -> Identity<'static> {
    match field.and_then(|field| field.merge_key) {
        Some(key) => Identity::Key(key),
        None => Identity::Primitive,
    }
}

fn delete_items(current: &mut Object, name: &str, gone: &Value) -> Result<(), PatchError> {
    let Value::Array(gone) = gone else {
        return Err(malformed(format!("{DELETE_ITEMS}{name} must be a list")));
    };
    if let Some(Value::Array(list)) = current.get_mut(name) {
        list.retain(|item| !gone.contains(item));
    }
    Ok(())
}

/// A value as it stands where nothing was: without directives and nulls. `None` for what a directive heads.
fn stripped(value: Value) -> Option<Value> {
    match value {
        Value::Object(object) if object.contains_key(PATCH) => None,
        Value::Object(object) => Some(Value::Object(without_directives(object))),
        Value::Array(list) => Some(Value::Array(
            list.into_iter().filter_map(stripped).collect(),
        )),
        other => Some(other),
    }
}

fn without_directives(object: Object) -> Object {
    let kept = object
        .into_iter()
        .filter(|(key, value)| !is_directive(key) && !value.is_null());
    kept.filter_map(|(key, value)| stripped(value).map(|value| (key, value)))
        .collect()
}

fn is_directive(key: &str) -> bool {
    key == PATCH
        || key == RETAIN_KEYS
        || key.starts_with(DELETE_ITEMS)
        || key.starts_with(SET_ORDER)
}

fn into_list(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(list) => Some(list),
        _ => None,
    }
}

fn malformed(reason: impl Into<String>) -> PatchError {
    PatchError::Malformed(reason.into())
}
