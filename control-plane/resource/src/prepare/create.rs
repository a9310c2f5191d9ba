//! Create.

use serde_json::Value;

use super::{WriteContext, admit, metadata, service};
use crate::codec;
use crate::default;
use crate::error::ApiError;
use crate::kind::KindSpec;
use crate::validate;

/// The object to create. `namespace` is the path's, `None` for cluster kinds.
///
/// Errors: 400 for a name or namespace other than the path's, 422 for an object that is not valid.
pub fn create(
    kind: &KindSpec,
    namespace: Option<&str>,
    mut object: Value,
    context: &WriteContext<'_>,
) -> Result<Value, ApiError> {
    metadata::for_create(kind, namespace, &mut object, context)?;
    // A node says at once what it has: the kubelet registers with its status.
    if kind.strategy.has_status && kind.kind != "Node" {
        reset_status(kind, &mut object)?;
    }
    default::apply(kind, &mut object);
    if kind.group.is_empty() && kind.kind == "Service" {
        service::assign(None, &mut object, &context.allocated);
    }
    admit::on_create(kind, &mut object, context);
    validate::create(kind, &object)?;
    Ok(object)
}

fn reset_status(kind: &KindSpec, object: &mut Value) -> Result<(), ApiError> {
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
    }
    codec::complete(kind.root_type, object)
}
