//! Upstream's roles and bindings, made or completed when the server starts.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use portcullis_resource::codec::{FieldValidation, decode_value};
use portcullis_resource::error::ApiError;
use portcullis_resource::rbac::bootstrap::{BootstrapObject, Reconciled, objects, reconcile};
use portcullis_store::{Expected, Revision};
use serde_json::Value;

use crate::api::{Api, store_error};
use crate::object;
use crate::verb::create_object;

/// Makes what is missing, gives back what was taken away. Nobody else writes yet, so a conflict cannot be.
pub(crate) async fn keep_roles(api: &Arc<Api>) -> Result<(), ApiError> {
    stream::iter(objects())
        .map(|wanted| keep(api, wanted))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

async fn keep(api: &Arc<Api>, wanted: BootstrapObject) -> Result<(), ApiError> {
    let root_type = wanted.kind.root_type;
    // As any client's object: absent members stand where upstream shows them empty.
    let complete = decode_value(root_type, &wanted.object, FieldValidation::Strict)?.object;
    let found = api
        .find(wanted.kind, &wanted.namespace, &wanted.name)
        .await?;
    let Some((found, revision)) = found else {
        return create(api, &wanted, complete).await;
    };
    let key = object::key(wanted.kind, &wanted.namespace, &wanted.name);
    match reconcile(&found, &complete) {
        Reconciled::Keep => Ok(()),
        Reconciled::Write(merged) => {
            let expected = Expected::Modified(revision);
            api.store(wanted.kind, &key, merged, expected)
                .await
                .map(drop)
        }
        Reconciled::Replace => {
            remove(api, &key, revision).await?;
            create(api, &wanted, complete).await
        }
    }
}

async fn create(api: &Arc<Api>, wanted: &BootstrapObject, complete: Value) -> Result<(), ApiError> {
    let namespace = &wanted.namespace;
    create_object(
        api,
        wanted.kind,
        namespace,
        complete,
        "system:apiserver",
        false,
    )
    .await
    .map(drop)
}

async fn remove(api: &Api, key: &str, revision: Revision) -> Result<(), ApiError> {
    let deleted = api.store.delete(key, revision).await;
    deleted.map(drop).map_err(store_error)
}

/// Writes that wait together: the store commits them as one.
const AT_ONCE: usize = 32;
