//! What every request shares.

use std::sync::Arc;
use std::time::Duration;

use portcullis_resource::error::ApiError;
use portcullis_resource::kind::KindSpec;
use portcullis_serve::Drain;
use portcullis_store::{Expected, KeyValue, List, Outcome, Put, Revision, Store, StoreError};
use serde_json::Value;

use crate::authz::Authorizer;
use crate::config::Config;
use crate::inflight::InFlight;
use crate::metrics::Metrics;
use crate::object;
use crate::path::OpenApiDocuments;
use crate::pools::Pools;
use crate::subresource::Kubelets;
use crate::tokens::Tokens;

pub(crate) struct Api {
    pub config: Config,
    /// `host:port`, for discovery.
    pub address: String,
    pub store: Arc<dyn Store>,
    pub authorizer: Authorizer,
    pub in_flight: InFlight,
    pub metrics: Metrics,
    pub tokens: Tokens,
    pub pools: Arc<Pools>,
    pub kubelets: Kubelets,
    pub openapi: OpenApiDocuments,
    pub drain: Drain,
}

impl Api {
    /// The object of a kind by name, `None` if there is none.
    pub(crate) async fn find(
        &self,
        kind: &KindSpec,
        namespace: &str,
        name: &str,
    ) -> Result<Option<(Value, Revision)>, ApiError> {
        let key = object::key(kind, namespace, name);
        let (found, _) = self.store.get(&key, None).await.map_err(store_error)?;
        match found {
            None => Ok(None),
            Some(stored) => Ok(Some((object::decode(kind, &stored)?, stored.modified))),
        }
    }

    /// All objects of a kind in a namespace (empty: everywhere).
    pub(crate) async fn all(
        &self,
        kind: &KindSpec,
        namespace: &str,
    ) -> Result<Vec<Value>, ApiError> {
        let prefix = object::prefix(kind, namespace);
        let page = self
            .store
            .list(List::all(&prefix))
            .await
            .map_err(store_error)?;
        page.items
            .iter()
            .map(|stored| object::decode(kind, stored))
            .collect()
    }

    /// Stores `object`; `Ok` carries it with its new resourceVersion, `Err` what was there instead.
    pub(crate) async fn store(
        &self,
        kind: &KindSpec,
        key: &str,
        mut object: Value,
        expected: Expected,
    ) -> Result<Result<Value, Option<KeyValue>>, ApiError> {
        let put = Put {
            key: key.to_owned(),
            value: object::encode(kind, &object),
            expected,
            time_to_live: self.lifetime(kind),
        };
        match self.store.put(put).await.map_err(store_error)? {
            Outcome::Written(revision) => {
                object::set_resource_version(&mut object, &revision.to_string());
                Ok(Ok(object))
            }
            Outcome::Conflict(current) => Ok(Err(current)),
        }
    }

    fn lifetime(&self, kind: &KindSpec) -> Option<Duration> {
        (kind.kind == "Event").then_some(self.config.event_lifetime)
    }
}

/// Failures of the store as clients see them. Lists in pages and watches have their own words for lost history.
pub(crate) fn store_error(error: StoreError) -> ApiError {
    match error {
        StoreError::Compacted { asked, compacted } => ApiError::Expired {
            message: format!("too old resource version: {asked} ({compacted})"),
            continue_token: None,
        },
        StoreError::Future { asked, current } => ApiError::ResourceVersionTooLarge {
            asked: asked.0,
            current: current.0,
        },
        StoreError::TooLarge { limit, .. } => ApiError::RequestEntityTooLarge {
            limit_bytes: limit as u64,
        },
        StoreError::Overloaded => ApiError::TooManyRequests {
            message: "the store is overloaded, please try again later".to_owned(),
            retry_after_s: 1,
            causes: Vec::new(),
        },
        StoreError::Closed => {
            ApiError::ServiceUnavailable("the server is shutting down".to_owned())
        }
        other => {
            tracing::error!(error = %other, "the store failed");
            ApiError::Internal(other.to_string())
        }
    }
}
