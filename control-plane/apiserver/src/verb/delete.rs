//! DELETE of one object.

use http::{Response, StatusCode};
use portcullis_resource::error::ApiError;
use portcullis_resource::kind::DELETE_OPTIONS;
use portcullis_resource::prepare::{self, DeleteDecision, DeleteOptions};
use portcullis_store::{Expected, Outcome};
use serde_json::{Value, json};

use crate::api::store_error;
use crate::body::Body;
use crate::call::Call;
use crate::{admission, encode, object};

pub(crate) async fn delete(mut call: Call) -> Result<Response<Body>, ApiError> {
    let negotiated = encode::negotiate(&call.headers, &call.query, call.verb)?;
    let options = options(&mut call).await?;
    let name = call.path.name.clone();
    match delete_object(&call, &name, &options).await? {
        Deleted::LivesOn(object) => Ok(encode::send(
            call.kind,
            &call.headers,
            &negotiated,
            StatusCode::OK,
            object,
        )),
        Deleted::Gone(object) => Ok(encode::raw(
            &call.headers,
            negotiated.format,
            StatusCode::OK,
            &success(&call, &object),
        )),
    }
}

/// What became of a deleted object.
pub(crate) enum Deleted {
    /// Waits for finalizers or its grace period.
    LivesOn(Value),
    Gone(Value),
}

/// Options from the body, or from the query as `kubectl proxy` users write them.
pub(super) async fn options(call: &mut Call) -> Result<DeleteOptions, ApiError> {
    let body = call.decode_if_any(DELETE_OPTIONS.root_type).await?;
    let mut body = body.unwrap_or_else(|| json!({}));
    for name in [
        "propagationPolicy",
        "gracePeriodSeconds",
        "orphanDependents",
    ] {
        let value = call.query.first(name);
        if !value.is_empty() && body.get(name).is_none() {
            body[name] = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
        }
    }
    let mut options = DeleteOptions::parse(&body)?;
    options.dry_run |= call.dry_run()?;
    Ok(options)
}

/// Deletes or marks `name`, again if it changed meanwhile.
pub(crate) async fn delete_object(
    call: &Call,
    name: &str,
    options: &DeleteOptions,
) -> Result<Deleted, ApiError> {
    admission::on_delete(call.kind, name)?;
    let key = call.key(name);
    let (mut found, _) = call.api.store.get(&key, None).await.map_err(store_error)?;
    loop {
        let stored = found.ok_or_else(|| call.not_found(name))?;
        let current = object::decode(call.kind, &stored)?;
        let decision = prepare::delete(call.kind, &current, options, &call.context(name))?;
        let expected = stored.modified;
        match decision {
            DeleteDecision::Unchanged(object) => return Ok(Deleted::LivesOn(object)),
            DeleteDecision::MarkDeleting(object) if options.dry_run => {
                return Ok(Deleted::LivesOn(object));
            }
            DeleteDecision::Remove(object) if options.dry_run => return Ok(Deleted::Gone(object)),
            DeleteDecision::MarkDeleting(object) => {
                let written = call
                    .api
                    .store(call.kind, &key, object, Expected::Modified(expected));
                match written.await? {
                    Ok(object) => return Ok(Deleted::LivesOn(object)),
                    Err(present) => found = present,
                }
            }
            DeleteDecision::Remove(object) => {
                match call
                    .api
                    .store
                    .delete(&key, expected)
                    .await
                    .map_err(store_error)?
                {
                    Outcome::Written(_) => {
                        if call.kind.plural == "services" {
                            call.api.pools.settle(Some(&current), None);
                        }
                        return Ok(Deleted::Gone(object));
                    }
                    Outcome::Conflict(present) => found = present,
                }
            }
        }
    }
}

fn success(call: &Call, object: &Value) -> Value {
    let mut details = json!({
        "name": object::text(object, "/metadata/name"),
        "kind": call.kind.plural,
        "uid": object::text(object, "/metadata/uid"),
    });
    if !call.kind.group.is_empty() {
        details["group"] = json!(call.kind.group);
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
