//! Watches: history, or the present state, then every change.

use http::Response;
use portcullis_resource::error::ApiError;
use portcullis_resource::request::{ListOptions, Verb, VersionMatch, WatchOptions};
use portcullis_store::Revision;

use super::list::{matching, wait_for};
use crate::api::store_error;
use crate::body::Body;
use crate::call::Call;
use crate::encode;
use crate::object;
use crate::watch::{Start, stream};

pub(crate) async fn watch(call: Call) -> Result<Response<Body>, ApiError> {
    let negotiated = encode::negotiate(&call.headers, &call.query, call.verb)?;
    let options = WatchOptions::parse(&call.query, call.kind)?;
    wait_for(&*call.api.store, options.resource_version).await?;
    let start = if options.initial_events {
        // The list costs as much as any; the stream after it holds no place.
        let _place = call.api.in_flight.enter(Verb::List)?;
        let present = matching(&call, &everything(&options)).await?;
        Start {
            initial: present.items,
            after: present.revision,
        }
    } else {
        let after = match options.resource_version {
            0 => call.api.store.progress(),
            version => Revision(version),
        };
        Start {
            initial: Vec::new(),
            after,
        }
    };
    // One name is one key: the watch is told of nothing else.
    let prefix = match options.fields.exact_name() {
        Some(name) if !call.kind.namespaced || !call.namespace().is_empty() => call.key(name),
        _ => object::prefix(call.kind, call.namespace()),
    };
    let watch = call.api.store.watch(&prefix, start.after);
    match watch {
        Ok(watch) => Ok(stream(call, negotiated, options, start, watch)),
        // Lost history is an event of the stream, as clients expect it.
        Err(error) => Ok(crate::watch::failed(&store_error(error))),
    }
}

fn everything(options: &WatchOptions) -> ListOptions {
    ListOptions {
        labels: options.labels.clone(),
        fields: options.fields.clone(),
        resource_version: options.resource_version,
        version_match: VersionMatch::NotOlderThan,
        limit: None,
        page: None,
    }
}
