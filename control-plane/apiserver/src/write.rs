//! Read, decide, write; and again when somebody else was faster.

use portcullis_resource::error::ApiError;
use portcullis_resource::prepare::Updated;
use portcullis_store::{Expected, Outcome};
use serde_json::Value;

use crate::api::store_error;
use crate::call::Call;
use crate::object;
use crate::pools::Reservation;

/// What to do with the object that was read.
pub(crate) struct Change {
    pub update: Updated,
    /// Kept when the write succeeds.
    pub reservation: Option<Reservation>,
}

impl From<Updated> for Change {
    fn from(update: Updated) -> Self {
        Self {
            update,
            reservation: None,
        }
    }
}

/// Applies `decide` to the present state of `name` until its result could be stored against that very state. Answers with
/// the object as it is then.
///
/// # Errors
/// 404, whatever `decide` says (a conflict ends it: the client insisted on a version), 409 after [`MAX_ATTEMPTS`].
pub(crate) async fn change(
    call: &Call,
    name: &str,
    mut decide: impl FnMut(&Value) -> Result<Change, ApiError>,
) -> Result<Value, ApiError> {
    let dry_run = call.dry_run()?;
    let key = call.key(name);
    let (mut found, _) = call.api.store.get(&key, None).await.map_err(store_error)?;
    for _ in 0..MAX_ATTEMPTS {
        let stored = found.ok_or_else(|| call.not_found(name))?;
        let current = object::decode(call.kind, &stored)?;
        let change = decide(&current)?;
        let removed = matches!(change.update, Updated::Remove(_));
        let done = match change.update {
            Updated::Unchanged(object) => return Ok(object),
            Updated::Write(object) | Updated::Remove(object) if dry_run => return Ok(object),
            Updated::Write(object) => {
                let expected = Expected::Modified(stored.modified);
                call.api.store(call.kind, &key, object, expected).await?
            }
            Updated::Remove(object) => remove(call, &key, stored.modified, object).await?,
        };
        match done {
            Ok(object) => {
                if call.kind.plural == "services" {
                    call.api
                        .pools
                        .settle(Some(&current), (!removed).then_some(&object));
                }
                if let Some(reservation) = change.reservation {
                    reservation.keep();
                }
                return Ok(object);
            }
            Err(present) => found = present,
        }
    }
    Err(ApiError::stale(call.kind.resource(), name))
}

async fn remove(
    call: &Call,
    key: &str,
    modified: portcullis_store::Revision,
    mut object: Value,
) -> Result<Result<Value, Option<portcullis_store::KeyValue>>, ApiError> {
    match call
        .api
        .store
        .delete(key, modified)
        .await
        .map_err(store_error)?
    {
        Outcome::Written(revision) => {
            object::set_resource_version(&mut object, &revision.to_string());
            Ok(Ok(object))
        }
        Outcome::Conflict(present) => Ok(Err(present)),
    }
}

/// Tries against writers that are faster each time; then the client is told of the conflict.
const MAX_ATTEMPTS: usize = 20;
