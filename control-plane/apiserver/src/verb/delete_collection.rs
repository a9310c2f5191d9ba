//! DELETE of everything that a list would show.

use http::Response;
use portcullis_resource::error::ApiError;
use portcullis_resource::request::ListOptions;

use super::delete::{Deleted, delete_object, options};
use super::list::matching;
use crate::body::Body;
use crate::call::Call;
use crate::{encode, object};

/// Answers with the list of what was deleted. What disappears meanwhile is deleted, too.
pub(crate) async fn delete_collection(mut call: Call) -> Result<Response<Body>, ApiError> {
    let negotiated = encode::negotiate(&call.headers, &call.query, call.verb)?;
    let selection = ListOptions::parse(&call.query, call.kind)?;
    let options = options(&mut call).await?;
    let found = matching(&call, &selection).await?;
    let namespaced = call.kind.namespaced;
    let mut deleted = Vec::with_capacity(found.items.len());
    for item in found.items {
        if namespaced && call.path.namespace.is_empty() {
            // Upstream serves no deletion across namespaces.
            return Err(ApiError::UnknownPath);
        }
        let name = object::text(&item, "/metadata/name").to_owned();
        match delete_object(&call, &name, &options).await {
            Ok(Deleted::LivesOn(object) | Deleted::Gone(object)) => deleted.push(object),
            Err(ApiError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let metadata = serde_json::json!({"resourceVersion": found.revision.to_string()});
    Ok(encode::send_list(
        call.kind,
        &call.headers,
        &negotiated,
        metadata,
        deleted,
    ))
}
