//! POST.

use http::{Response, StatusCode};
use jiff::Timestamp;
use portcullis_resource::error::ApiError;
use portcullis_resource::kind::KindSpec;
use portcullis_resource::prepare::{self, WriteContext};
use portcullis_store::Expected;
use serde_json::Value;

use crate::admission;
use crate::api::Api;
use crate::authz;
use crate::body::Body;
use crate::call::Call;
use crate::object;
use crate::pools::Reservation;
use crate::{encode, path};

pub(crate) async fn create(mut call: Call) -> Result<Response<Body>, ApiError> {
    let negotiated = encode::negotiate(&call.headers, &call.query, call.verb)?;
    let dry_run = call.dry_run()?;
    let decoded = call.decode(call.kind.root_type).await?;
    authz::check_escalation(&call, None, &decoded.object)?;
    let namespace = call.namespace().to_owned();
    let object = create_object(
        &call.api,
        call.kind,
        &namespace,
        decoded.object,
        &call.user.name,
        dry_run,
    )
    .await?;
    let response = encode::send(
        call.kind,
        &call.headers,
        &negotiated,
        StatusCode::CREATED,
        object,
    );
    Ok(encode::with_warnings(response, &decoded.warnings))
}

/// Admits, prepares and stores a decoded object. `namespace` is empty for cluster kinds.
///
/// # Errors
/// As `prepare::create`; 409 when the name is taken, 403 and 404 of admission.
pub(crate) async fn create_object(
    api: &std::sync::Arc<Api>,
    kind: &'static KindSpec,
    namespace: &str,
    mut object: Value,
    user: &str,
    dry_run: bool,
) -> Result<Value, ApiError> {
    let generated = object::text(&object, "/metadata/name").is_empty();
    admission::on_create(api, kind, namespace, &mut object).await?;
    let class = admission::default_ingress_class(api, kind, &object).await?;
    let uid = uuid::Uuid::new_v4().to_string();
    let attempts = if generated { NAME_ATTEMPTS } else { 1 };
    for _ in 0..attempts {
        let reservation = reserve(api, kind, &object)?;
        let context = WriteContext {
            now: Timestamp::now(),
            uid: &uid,
            name_suffix: &object::random_suffix(),
            name: "",
            user,
            default_ingress_class: class.as_deref(),
            allocated: reservation
                .as_ref()
                .map(|r| r.allocated().clone())
                .unwrap_or_default(),
        };
        let prepared = prepare::create(
            kind,
            kind.namespaced.then_some(namespace),
            object.clone(),
            &context,
        )?;
        let name = object::text(&prepared, "/metadata/name").to_owned();
        if path::is_bad_name(&name) {
            return Err(ApiError::BadRequest(format!(
                "{name:?} cannot be part of a path"
            )));
        }
        let key = object::key(kind, namespace, &name);
        if dry_run {
            return match api.find(kind, namespace, &name).await? {
                None => Ok(prepared),
                Some(_) => Err(taken(kind, name, generated)),
            };
        }
        match api.store(kind, &key, prepared, Expected::Absent).await? {
            Ok(stored) => {
                if let Some(reservation) = reservation {
                    reservation.keep();
                }
                return Ok(stored);
            }
            Err(_) if generated => {}
            Err(_) => return Err(taken(kind, name, false)),
        }
    }
    let base = object::text(&object, "/metadata/generateName").to_owned();
    Err(taken(kind, base, true))
}

fn taken(kind: &KindSpec, name: String, generated: bool) -> ApiError {
    let resource = kind.resource();
    if generated {
        ApiError::NameGenerationExhausted { resource, name }
    } else {
        ApiError::AlreadyExists { resource, name }
    }
}

fn reserve(
    api: &std::sync::Arc<Api>,
    kind: &KindSpec,
    object: &Value,
) -> Result<Option<Reservation>, ApiError> {
    if kind.plural != "services" {
        return Ok(None);
    }
    let need = prepare::service_need(None, object);
    let name = object::text(object, "/metadata/name");
    api.pools.reserve(kind, name, None, &need).map(Some)
}

/// Names tried for `generateName` (KEP-4420).
const NAME_ATTEMPTS: usize = 8;
