//! The way of a request, from connection to response.

use std::sync::Arc;
use std::time::Instant;

use http::{Request, Response};
use hyper::body::Incoming;
use portcullis_resource::error::ApiError;
use portcullis_resource::kind;
use portcullis_resource::rbac::Attributes;
use portcullis_resource::request::{Query, RequestInfo, ResourcePath, Target, Verb};
use portcullis_resource::review::Review;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::api::Api;
use crate::authn::{self, User};
use crate::body::Body;
use crate::call::Call;
use crate::encode;
use crate::metrics::Labels;
use crate::{path, review, subresource, verb};

/// Answers one request of a connection whose client certificate named `certificate`.
pub(crate) async fn answer(
    api: Arc<Api>,
    certificate: Option<Arc<User>>,
    request: Request<Incoming>,
) -> Response<Body> {
    let started = Instant::now();
    let headers = request.headers().clone();
    let mut labels = Labels::default();
    let answered = handle(&api, certificate.as_deref(), request, &mut labels).await;
    let response = answered.unwrap_or_else(|error| encode::error(&headers, &error));
    if !labels.verb.is_empty() {
        api.metrics
            .answered(&labels, response.status().as_u16(), started.elapsed());
    }
    response
}

async fn handle(
    api: &Arc<Api>,
    certificate: Option<&User>,
    request: Request<Incoming>,
    labels: &mut Labels,
) -> Result<Response<Body>, ApiError> {
    let user = authn::user(certificate, request.headers(), &api.tokens).await?;
    let user = authn::impersonated(user, request.headers(), &api.authorizer)?;
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let info = RequestInfo::parse(request.method().as_str(), request.uri().path(), &query)?;
    let method = request.method().as_str().to_ascii_lowercase();
    let asked = Attributes::of_request(&info, &method);
    api.authorizer.require(&user, &asked)?;
    let target = match info.target {
        Target::Path(path) => {
            return in_time(api, path::answer(api, &path, request.headers(), &query)).await;
        }
        Target::Resource(target) => target,
    };
    let call = route(api, info.verb, target, query, user, request)?;
    *labels = call.labels();
    if is_long_running(&call) {
        let guard = api.metrics.long_running(labels);
        return dispatch(call).await.map(|response| held(response, guard));
    }
    let place = api.in_flight.enter(call.verb)?;
    if call.verb.is_mutating() {
        return in_time(api, to_the_end(api, place, call)).await;
    }
    let answered = in_time(api, dispatch(call)).await;
    drop(place);
    answered
}

/// Dispatches on a task of its own, which goes on when the client leaves or the time is over: the store may commit what it
/// was given all the same, and the pools must hear of it.
async fn to_the_end(
    api: &Api,
    place: OwnedSemaphorePermit,
    call: Call,
) -> Result<Response<Body>, ApiError> {
    let (answer, answered) = oneshot::channel();
    api.drain.track(async move {
        // A client that left does not need its answer.
        let _ = answer.send(dispatch(call).await);
        drop(place);
    });
    // Without an answer the task panicked, or was cut at the end of a drain.
    answered
        .await
        .unwrap_or_else(|_| Err(ApiError::Internal("the request was given up".to_owned())))
}

/// Finds the kind's row and checks that it serves what is asked.
fn route(
    api: &Arc<Api>,
    verb: Verb,
    target: ResourcePath,
    query: Query,
    user: User,
    request: Request<Incoming>,
) -> Result<Call, ApiError> {
    let kind = kind::by_resource(&target.group, &target.version, &target.resource)
        .ok_or(ApiError::UnknownPath)?;
    let in_namespace = !target.namespace.is_empty();
    let named = !target.name.is_empty()
        && !matches!(verb, Verb::List | Verb::Watch | Verb::DeleteCollection);
    if kind.namespaced && !in_namespace && (named || verb.is_mutating()) {
        return Err(ApiError::UnknownPath);
    }
    // A namespace is in itself for authorization, and in no other: what is granted in one must not reach the rest.
    let in_itself = kind.kind == "Namespace"
        && target.namespace == target.name
        && !matches!(verb, Verb::List | Verb::Watch | Verb::DeleteCollection);
    if !kind.namespaced && in_namespace && !in_itself {
        return Err(ApiError::UnknownPath);
    }
    let subresource = match target.subresource.as_str() {
        "" => None,
        name => Some(kind.subresource(name).ok_or(ApiError::UnknownPath)?),
    };
    let served = match subresource {
        None => kind.serves(verb.name()) && named == wants_name(verb),
        Some(sub) => sub.verbs().contains(&verb.name()),
    };
    if !served {
        return Err(ApiError::MethodNotAllowed {
            resource: kind.resource(),
            verb: verb.name().to_owned(),
        });
    }
    let (head, body) = request.into_parts();
    Ok(Call {
        api: Arc::clone(api),
        verb,
        path: target,
        kind,
        subresource,
        query,
        headers: head.headers,
        user,
        body: Some(body),
    })
}

const fn wants_name(verb: Verb) -> bool {
    matches!(verb, Verb::Get | Verb::Update | Verb::Patch | Verb::Delete)
}

async fn dispatch(call: Call) -> Result<Response<Body>, ApiError> {
    if let Some(question) = Review::of(call.kind) {
        return review::answer(question, call).await;
    }
    if let Some(sub) = call.subresource
        && let Some(answered) = subresource::special(sub)
    {
        return subresource::answer(answered, call).await;
    }
    match call.verb {
        Verb::Get => verb::get(call).await,
        Verb::List => verb::list(call).await,
        Verb::Watch => verb::watch(call).await,
        Verb::Create => verb::create(call).await,
        Verb::Update => verb::update(call).await,
        Verb::Patch => verb::patch(call).await,
        Verb::Delete => verb::delete(call).await,
        Verb::DeleteCollection => verb::delete_collection(call).await,
    }
}

fn is_long_running(call: &Call) -> bool {
    call.verb == Verb::Watch
        || call.subresource.is_some_and(subresource::is_streaming) && call.query.is_true("follow")
}

async fn in_time(
    api: &Api,
    work: impl Future<Output = Result<Response<Body>, ApiError>>,
) -> Result<Response<Body>, ApiError> {
    let expired = |_| ApiError::Timeout {
        message: "Timeout: request did not complete within the allotted timeout".to_owned(),
    };
    tokio::time::timeout(api.config.request_timeout, work)
        .await
        .map_err(expired)?
}

/// Keeps `guard` as long as the body lives.
fn held<G: Send + 'static>(response: Response<Body>, guard: G) -> Response<Body> {
    use http_body_util::BodyExt;
    response.map(|body| {
        body.map_frame(move |frame| {
            let _ = &guard;
            frame
        })
        .boxed_unsync()
    })
}
