//! `serviceaccounts/token`: TokenRequest (KEP-1205).

use http::{Response, StatusCode};
use jiff::Timestamp;
use portcullis_resource::error::{ApiError, FieldError, GroupName};
use portcullis_resource::kind::{self, KindSpec, TOKEN_REQUEST};
use serde_json::{Value, json};

use crate::body::Body;
use crate::call::Call;
use crate::encode;
use crate::object::text;
use crate::tokens::{Binding, Reference, TokenRequest};

pub(super) async fn answer(mut call: Call) -> Result<Response<Body>, ApiError> {
    let negotiated = encode::negotiate(&call.headers, &call.query, call.verb)?;
    let mut request = call.decode(TOKEN_REQUEST.root_type).await?.object;
    let name = call.path.name.clone();
    same_place(&call, &request)?;
    let found = call.api.find(call.kind, call.namespace(), &name).await?;
    let (account, _) = found.ok_or_else(|| call.not_found(&name))?;
    let lifetime_s = lifetime(&request)?;
    let binding = bound(&call, &request).await?;
    let audiences = request.pointer("/spec/audiences").and_then(Value::as_array);
    let audiences = audiences
        .into_iter()
        .flatten()
        .filter_map(|a| a.as_str().map(str::to_owned));
    let now = Timestamp::now();
    let issued = call.api.tokens.issue(TokenRequest {
        namespace: call.namespace(),
        account: reference(&account),
        audiences: audiences.collect(),
        lifetime_s,
        binding,
        now,
    })?;
    let written = |at: Timestamp| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    request["metadata"] =
        json!({"name": name, "namespace": call.namespace(), "creationTimestamp": written(now)});
    request["spec"]["audiences"] = json!(issued.audiences);
    request["spec"]["expirationSeconds"] = json!(lifetime_s);
    request["status"] = json!({
        "token": issued.token,
        "expirationTimestamp": written(issued.expires),
    });
    Ok(encode::raw(
        &call.headers,
        negotiated.format,
        StatusCode::CREATED,
        &request,
    ))
}

/// The body may repeat the path's names, and nothing else.
fn same_place(call: &Call, request: &Value) -> Result<(), ApiError> {
    let places = [
        ("name", call.path.name.as_str()),
        ("namespace", call.namespace()),
    ];
    let differing = places.iter().find_map(|(field, wanted)| {
        let stated = text(request, &format!("/metadata/{field}"));
        (!stated.is_empty() && stated != *wanted).then(|| {
            let detail = format!("must match the service account {field} if specified");
            FieldError::invalid(format!("metadata.{field}"), &json!(stated), detail)
        })
    });
    match differing {
        Some(error) => Err(invalid(&call.path.name, error)),
        None => Ok(()),
    }
}

fn lifetime(request: &Value) -> Result<i64, ApiError> {
    let asked = request
        .pointer("/spec/expirationSeconds")
        .and_then(Value::as_i64);
    let seconds = asked.unwrap_or(DEFAULT_LIFETIME_S);
    let detail = match seconds {
        ..MIN_LIFETIME_S => "may not specify a duration less than 10 minutes",
        MIN_LIFETIME_S..=MAX_LIFETIME_S => return Ok(seconds),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    let error = FieldError::invalid("spec.expirationSeconds", &json!(seconds), detail);
    Err(invalid("", error))
}

/// The object a token is bound to: it must exist, and be the one that is meant.
async fn bound(call: &Call, request: &Value) -> Result<Binding, ApiError> {
    let wanted = request.pointer("/spec/boundObjectRef");
    let Some(wanted) = wanted.filter(|wanted| !wanted.is_null()) else {
        return Ok(Binding::None);
    };
    let (version, kind) = (text(wanted, "/apiVersion"), text(wanted, "/kind"));
    let plural = match (version.contains('/'), kind) {
        (false, "Pod") => "pods",
        (false, "Secret") => "secrets",
        (false, "Node") => "nodes",
        (grouped, kind) => {
            let group = if grouped { "" } else { "/" };
            let text = format!(
                "cannot bind token for serviceaccount to object of type {group}{version}, Kind={kind}"
            );
            return Err(ApiError::BadRequest(text));
        }
    };
    let found = existing(call, plural, text(wanted, "/name")).await?;
    let account = &call.path.name;
    if plural == "pods" && text(&found, "/spec/serviceAccountName") != account {
        let text = format!(
            "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
        );
        return Err(ApiError::BadRequest(text));
    }
    same_object(wanted, &found)?;
    Ok(match plural {
        "pods" => Binding::Pod {
            node: node_of(call, &found).await?,
            pod: reference(&found),
        },
        "secrets" => Binding::Secret(reference(&found)),
        _ => Binding::Node(reference(&found)),
    })
}

fn same_object(wanted: &Value, found: &Value) -> Result<(), ApiError> {
    let uid = text(wanted, "/uid");
    if uid.is_empty() || uid == text(found, "/metadata/uid") {
        return Ok(());
    }
    Err(ApiError::Conflict {
        resource: GroupName::new("", text(wanted, "/kind")),
        name: text(wanted, "/name").to_owned(),
        message: format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. \
             The object might have been deleted and then recreated"
        ),
    })
}

/// Where a pod runs; by name alone when the API does not know that node.
async fn node_of(call: &Call, pod: &Value) -> Result<Option<Reference>, ApiError> {
    let name = text(pod, "/spec/nodeName");
    if name.is_empty() {
        return Ok(None);
    }
    let found = call.api.find(core("nodes"), "", name).await?;
    Ok(Some(found.map_or_else(
        || Reference {
            name: name.to_owned(),
            uid: String::new(),
        },
        |(node, _)| reference(&node),
    )))
}

async fn existing(call: &Call, plural: &str, name: &str) -> Result<Value, ApiError> {
    let kind = core(plural);
    let namespace = if kind.namespaced {
        call.namespace()
    } else {
        ""
    };
    let found = call.api.find(kind, namespace, name).await?;
    let found = found.map(|(found, _)| found);
    found.ok_or_else(|| ApiError::NotFound {
        resource: kind.resource(),
        name: name.to_owned(),
    })
}

fn core(plural: &str) -> &'static KindSpec {
    kind::by_resource("", "v1", plural).expect("tokens are only bound to kinds that have a row")
}

fn reference(object: &Value) -> Reference {
    Reference {
        name: text(object, "/metadata/name").to_owned(),
        uid: text(object, "/metadata/uid").to_owned(),
    }
}

fn invalid(name: &str, error: FieldError) -> ApiError {
    ApiError::Invalid {
        kind: GroupName::new(TOKEN_REQUEST.group, TOKEN_REQUEST.kind),
        name: name.to_owned(),
        errors: vec![error],
    }
}

const DEFAULT_LIFETIME_S: i64 = 3_600;
const MIN_LIFETIME_S: i64 = 600;
/// 136 years. As upstream there is no lower ceiling unless somebody sets one, and here nobody can.
const MAX_LIFETIME_S: i64 = 1 << 32;
