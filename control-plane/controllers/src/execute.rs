//! Carries out actions. Makes no choices: a plan says everything, down to preconditions.

use std::time::Duration;

use futures::future::join_all;
use http::header::CONTENT_TYPE;
use http::{Method, Request};
use kube::Client;
use kube::core::PartialObjectMeta;
use portcullis_reconcile::{Action, Object, Propagation, Resource, Target};
use serde::Serialize;
use serde_json::{Value, json};
use thiserror::Error;

/// What a call that went through left behind.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// The name the API server gave a created object.
    pub name: Option<String>,
    /// The resourceVersion of what was created or patched.
    pub resource_version: Option<String>,
}

impl Done {
    fn from_answer(answer: &str) -> Self {
        let object: Option<PartialObjectMeta> = serde_json::from_str(answer).ok();
        let metadata = object.map(|object| object.metadata).unwrap_or_default();
        Self {
            name: metadata.name,
            resource_version: metadata.resource_version,
        }
    }
}

/// Why an action did not go through.
#[derive(Debug, Error)]
pub(crate) enum ActionError {
    #[error("{verb} {target}: {source}")]
    Refused {
        verb: &'static str,
        target: String,
        source: kube::Error,
    },
    #[error("{verb} {target}: no answer within {} s", CALL_TIMEOUT.as_secs())]
    TimedOut { verb: &'static str, target: String },
    /// An earlier action of the batch failed first.
    #[error("not tried: an earlier call failed")]
    Skipped,
}

impl ActionError {
    /// Someone else was faster; the cache will show it, and the next try will know.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { source: kube::Error::Api(status), .. } if status.code == 409)
    }

    /// Nothing can be made in a namespace that is going away, and nothing needs to.
    pub fn is_namespace_terminating(&self) -> bool {
        let Self::Refused {
            source: kube::Error::Api(status),
            ..
        } = self
        else {
            return false;
        };
        let causes = status.details.iter().flat_map(|details| &details.causes);
        status.code == 403
            && (causes
                .into_iter()
                .any(|cause| cause.reason == "NamespaceTerminating")
                || status.message.contains("because it is being terminated"))
    }
}

/// Runs actions in batches of 1, 2, 4, … up to [`WIDEST_BATCH`] at a time, and stops after a batch with a failure: what
/// one call is refused, a thousand would be refused too. `settled` hears the fate of each, in order.
pub(crate) async fn execute_all<'a>(
    client: &Client,
    actions: &'a [Action],
    mut settled: impl FnMut(&'a Action, &Result<Done, ActionError>),
) -> Result<(), ActionError> {
    let mut rest = actions;
    let mut width = 1;
    let mut failure = None;
    while !rest.is_empty() && failure.is_none() {
        let (batch, later) = rest.split_at(width.min(rest.len()));
        for (action, outcome) in batch
            .iter()
            .zip(join_all(batch.iter().map(|action| execute(client, action))).await)
        {
            settled(action, &outcome);
            if let Err(error) = outcome {
                failure.get_or_insert(error);
            }
        }
        rest = later;
        width = (width * 2).min(WIDEST_BATCH);
    }
    for action in rest {
        settled(action, &Err(ActionError::Skipped));
    }
    failure.map_or(Ok(()), Err)
}

/// Runs one action.
pub(crate) async fn execute(client: &Client, action: &Action) -> Result<Done, ActionError> {
    let outcome = call(client, describe(action)).await;
    match action {
        Action::Delete { .. } | Action::DeleteCollection { .. } => already_gone(outcome),
        _ => outcome.map(|answer| Done::from_answer(&answer)),
    }
}

fn describe(action: &Action) -> Call {
    match action {
        Action::Create(object) => {
            let Target {
                resource,
                namespace,
                ..
            } = object.target();
            Call::new(
                "create",
                Method::POST,
                collection(&resource, namespace.as_deref()),
                object,
            )
        }
        Action::Replace(object) => put("update", object, ""),
        Action::Finalize(object) => put("finalize", object, "/finalize"),
        Action::Patch { target, patch } => Call::new("patch", Method::PATCH, item(target), patch),
        Action::PatchStatus { target, patch } => {
            let path = format!("{}/status", item(target));
            Call::new("patch status of", Method::PATCH, path, patch)
        }
        Action::Delete {
            target,
            propagation,
            resource_version,
            force,
        } => {
            let options = delete_options(target, *propagation, resource_version.as_deref(), *force);
            Call::new("delete", Method::DELETE, item(target), &options)
        }
        Action::Bind { target, node } => {
            let path = format!("{}/binding", item(target));
            Call::new("bind", Method::POST, path, &binding(target, node))
        }
        Action::DeleteCollection {
            resource,
            namespace,
        } => {
            let path = collection(resource, Some(namespace));
            let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
            Call::new("delete all", Method::DELETE, path, &options)
        }
    }
}

/// Puts the object's status under the resourceVersion it carries.
pub(crate) async fn put_status(client: &Client, object: &Object) -> Result<Done, ActionError> {
    let outcome = call(client, put("update status of", object, "/status")).await;
    outcome.map(|answer| Done::from_answer(&answer))
}

fn put(verb: &'static str, object: &Object, suffix: &str) -> Call {
    Call::new(
        verb,
        Method::PUT,
        format!("{}{suffix}", item(&object.target())),
        object,
    )
}

/// Level-triggered: what should be gone and is gone is done.
fn already_gone(outcome: Result<String, ActionError>) -> Result<Done, ActionError> {
    match outcome {
        Err(ActionError::Refused {
            source: kube::Error::Api(status),
            ..
        }) if status.code == 404 => Ok(Done::default()),
        outcome => outcome.map(|_| Done::default()),
    }
}

fn delete_options(
    target: &Target,
    propagation: Propagation,
    version: Option<&str>,
    force: bool,
) -> Value {
    let mut options = json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": propagation,
    });
    if let Some(uid) = &target.uid {
        options["preconditions"]["uid"] = json!(uid);
    }
    if let Some(version) = version {
        options["preconditions"]["resourceVersion"] = json!(version);
    }
    if force {
        options["gracePeriodSeconds"] = json!(0);
    }
    options
}

fn binding(target: &Target, node: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": target.name, "namespace": target.namespace, "uid": target.uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    })
}

/// One HTTP request, not yet sent.
struct Call {
    verb: &'static str,
    method: Method,
    path: String,
    body: Vec<u8>,
}

impl Call {
    fn new(verb: &'static str, method: Method, path: String, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("objects and patches are plain data");
        Self {
            verb,
            method,
            path,
            body,
        }
    }
}

async fn call(client: &Client, call: Call) -> Result<String, ActionError> {
    let Call {
        verb,
        method,
        path,
        body,
    } = call;
    let media = if method == Method::PATCH {
        MERGE_PATCH
    } else {
        JSON
    };
    let request = Request::builder()
        .method(method)
        .uri(&path)
        .header(CONTENT_TYPE, media)
        .body(body);
    let request = request.map_err(kube::Error::HttpError);
    let request = request.map_err(|source| ActionError::Refused {
        verb,
        target: path.clone(),
        source,
    })?;
    match tokio::time::timeout(CALL_TIMEOUT, client.request_text(request)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(ActionError::Refused {
            verb,
            target: path,
            source,
        }),
        Err(_) => Err(ActionError::TimedOut { verb, target: path }),
    }
}

/// The URL path of a kind, in a namespace or across all.
pub(crate) fn collection(resource: &Resource, namespace: Option<&str>) -> String {
    let Resource {
        group,
        version,
        plural,
        ..
    } = resource;
    let root = if group.is_empty() {
        format!("/api/{version}")
    } else {
        format!("/apis/{group}/{version}")
    };
    match namespace {
        Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}"),
        None => format!("{root}/{plural}"),
    }
}

/// The URL path of one object.
pub(crate) fn item(target: &Target) -> String {
    format!(
        "{}/{}",
        collection(&target.resource, target.namespace.as_deref()),
        target.name
    )
}

const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";
/// Longer than any healthy call, shorter than anybody's patience.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Wide enough for one group commit of the store to carry a whole scale-up.
const WIDEST_BATCH: usize = 16;
