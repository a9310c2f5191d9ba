//! PUT of an object, its status, or a namespace's finalizers.

use http::{Response, StatusCode};
use portcullis_resource::error::ApiError;
use portcullis_resource::prepare::{self, Updated, WriteContext};
use portcullis_resource::rbac::{Attributes, ResourceScope, Scope};
use serde_json::Value;

use crate::body::Body;
use crate::call::Call;
use crate::verb::create_object;
use crate::write::{Change, change};
use crate::{authz, encode, object};

pub(crate) async fn update(mut call: Call) -> Result<Response<Body>, ApiError> {
    let negotiated = encode::negotiate(&call.headers, &call.query, call.verb)?;
    let decoded = call.decode(call.kind.root_type).await?;
    let name = call.path.name.clone();
    let updated = change(&call, &name, |current| {
        let context = call.context(&name);
        let new = decoded.object.clone();
        authz::check_escalation(&call, Some(current), &new)?;
        service_change(&call, current, &new, context, |context| {
            prepare::update(call.kind, call.subresource, current, new.clone(), context)
        })
    });
    let (code, object) = match updated.await {
        Err(ApiError::NotFound { .. }) if creates(&call, &decoded.object) => {
            let namespace = call.namespace().to_owned();
            let dry_run = call.dry_run()?;
            let new = decoded.object.clone();
            require_create(&call)?;
            authz::check_escalation(&call, None, &new)?;
            let made = create_object(
                &call.api,
                call.kind,
                &namespace,
                new,
                &call.user.name,
                dry_run,
            )
            .await?;
            (StatusCode::CREATED, made)
        }
        other => (StatusCode::OK, other?),
    };
    let response = encode::send(call.kind, &call.headers, &negotiated, code, object);
    Ok(encode::with_warnings(response, &decoded.warnings))
}

/// A PUT with a version or a uid means an object that was there.
fn creates(call: &Call, new: &Value) -> bool {
    call.kind.strategy.create_on_update
        && call.subresource.is_none()
        && object::text(new, "/metadata/name") == call.path.name
        && object::text(new, "/metadata/resourceVersion").is_empty()
        && object::text(new, "/metadata/uid").is_empty()
}

/// The request was allowed as an update.
fn require_create(call: &Call) -> Result<(), ApiError> {
    let asked = Attributes {
        verb: "create",
        scope: Scope::Resource(ResourceScope {
            group: call.kind.group,
            resource: call.kind.plural,
            subresource: "",
            namespace: call.namespace(),
            name: &call.path.name,
        }),
    };
    call.api.authorizer.require(&call.user, &asked)
}

/// Reserves what an updated Service newly needs before `prepare` decides. Other kinds go straight there, and so do
/// subresources: they leave the spec as it is, whatever their body says of it.
pub(crate) fn service_change(
    call: &Call,
    current: &Value,
    new: &Value,
    mut context: WriteContext<'_>,
    prepare: impl FnOnce(&WriteContext<'_>) -> Result<Updated, ApiError>,
) -> Result<Change, ApiError> {
    if call.kind.plural != "services" || call.subresource.is_some() {
        return prepare(&context).map(Change::from);
    }
    let need = prepare::service_need(Some(current), new);
    let pools = &call.api.pools;
    let reservation = pools.reserve(call.kind, context.name, Some(current), &need)?;
    context.allocated = reservation.allocated().clone();
    Ok(Change {
        update: prepare(&context)?,
        reservation: Some(reservation),
    })
}
