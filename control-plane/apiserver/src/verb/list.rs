//! Lists: consistent, in pages, with selectors.

use std::time::Duration;

use http::Response;
use portcullis_resource::error::ApiError;
use portcullis_resource::request::{ListOptions, PageToken, VersionMatch};
use portcullis_store::{KeyValue, List, Revision, Store, StoreError};
use serde_json::{Map, Value, json};

use crate::api::store_error;
use crate::body::Body;
use crate::call::Call;
use crate::{encode, object};

pub(crate) async fn list(call: Call) -> Result<Response<Body>, ApiError> {
    let negotiated = encode::negotiate(&call.headers, &call.query, call.verb)?;
    let options = ListOptions::parse(&call.query, call.kind)?;
    wait_for(&*call.api.store, options.resource_version).await?;
    let found = matching(&call, &options).await?;
    let metadata = found.metadata();
    Ok(encode::send_list(
        call.kind,
        &call.headers,
        &negotiated,
        metadata,
        found.items,
    ))
}

/// Waits until the store has reached `version`: a client may know it from another server.
///
/// # Errors
/// 504 when it does not come.
pub(crate) async fn wait_for(store: &dyn Store, version: u64) -> Result<(), ApiError> {
    if store.progress().0 >= version {
        return Ok(());
    }
    let too_large = || ApiError::ResourceVersionTooLarge {
        asked: version,
        current: store.progress().0,
    };
    let mut watch = store.watch("/", store.progress()).map_err(store_error)?;
    let reached = async {
        while store.progress().0 < version {
            if watch.next().await.is_err() {
                return;
            }
        }
    };
    tokio::time::timeout(VERSION_WAIT, reached)
        .await
        .map_err(|_| too_large())?;
    if store.progress().0 >= version {
        Ok(())
    } else {
        Err(too_large())
    }
}

/// One page, filled.
pub(crate) struct Found {
    pub items: Vec<Value>,
    pub revision: Revision,
    next: Option<String>,
    /// Unknown where selectors leave some out.
    remaining: Option<usize>,
    consistent: bool,
}

impl Found {
    fn metadata(&self) -> Value {
        let mut metadata = Map::new();
        metadata.insert("resourceVersion".into(), json!(self.revision.to_string()));
        if let Some(start) = &self.next {
            let token = PageToken {
                resource_version: self.consistent.then_some(self.revision.0),
                start: start.clone(),
            };
            metadata.insert("continue".into(), json!(token.encode()));
            if let Some(remaining) = self.remaining {
                metadata.insert("remainingItemCount".into(), json!(remaining));
            }
        }
        Value::Object(metadata)
    }
}

/// Reads on until the page is full: selectors may leave little of what is read.
pub(crate) async fn matching(call: &Call, options: &ListOptions) -> Result<Found, ApiError> {
    let prefix = object::prefix(call.kind, call.namespace());
    let mut at = match &options.page {
        Some(page) => page.resource_version.map(Revision),
        None if options.version_match == VersionMatch::Exact => {
            Some(Revision(options.resource_version))
        }
        None => None,
    };
    let consistent = options
        .page
        .as_ref()
        .is_none_or(|page| page.resource_version.is_some());
    let selective = !options.labels.is_empty() || !options.fields.is_empty();
    let mut from = options
        .page
        .as_ref()
        .map(|page| format!("{prefix}{}", page.start))
        .unwrap_or_default();
    let mut items = Vec::new();
    loop {
        let wanted = options.limit.map(|limit| limit - items.len());
        let page = call.api.store.list(List {
            prefix: &prefix,
            at,
            from: &from,
            // A few at a time are read for the rare match, not one by one.
            limit: wanted.map(|n| if selective { n.max(SELECTIVE_CHUNK) } else { n }),
        });
        let page = page.await.map_err(|e| list_error(e, &prefix, options))?;
        at = Some(page.revision);
        let mut used = None;
        for stored in &page.items {
            let shown = object::decode(call.kind, stored)?;
            used = Some(stored);
            if options.labels.matches(&shown) && options.fields.matches(&shown) {
                items.push(shown);
                if options.limit == Some(items.len()) {
                    break;
                }
            }
        }
        let full = options.limit == Some(items.len());
        let unread = page.remaining > 0
            || used.is_some_and(|u| page.items.last().is_some_and(|l| l.key != u.key));
        let next = used.map(|u| start_after(u, &prefix)).filter(|_| unread);
        match next {
            Some(start) if !full => from = format!("{prefix}{start}"),
            next => {
                return Ok(Found {
                    items,
                    revision: page.revision,
                    next,
                    remaining: (!selective).then_some(page.remaining),
                    consistent,
                });
            }
        }
    }
}

fn start_after(stored: &KeyValue, prefix: &str) -> String {
    let relative = stored.key.strip_prefix(prefix).unwrap_or(&stored.key);
    format!("{relative}\0")
}

/// Lost history: within pages the client may go on, inconsistently.
fn list_error(error: StoreError, _prefix: &str, options: &ListOptions) -> ApiError {
    let StoreError::Compacted { .. } = error else {
        return store_error(error);
    };
    match &options.page {
        None => ApiError::Expired {
            message: "The resourceVersion for the provided list is too old.".to_owned(),
            continue_token: None,
        },
        Some(page) => {
            let onward = PageToken {
                resource_version: None,
                start: page.start.clone(),
            };
            ApiError::Expired {
                message: INCONSISTENT.to_owned(),
                continue_token: Some(onward.encode()),
            }
        }
    }
}

/// Upstream's text (`etcd3/errors.go`); clients show it.
const INCONSISTENT: &str = "The provided continue parameter is too old to display a consistent list result. You can \
     start a new list without the continue parameter, or use the continue token in this response to retrieve the \
     remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were \
     created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

/// Objects read at once when a selector picks some.
const SELECTIVE_CHUNK: usize = 500;

/// For a version that the store has not reached (`blockTimeout`).
const VERSION_WAIT: Duration = Duration::from_secs(3);
