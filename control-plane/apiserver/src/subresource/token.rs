//! `serviceaccounts/token`: TokenRequest (KEP-1205).

use http::{Response, StatusCode};
use jiff::Timestamp;
use portcullis_resource::error::{ApiError, FieldError, GroupName};
use portcullis_resource::kind::{self, TOKEN_REQUEST};
use serde_json::{Value, json};

use crate::body::Body;
use crate::call::Call;
use crate::encode;
use crate::object::text;
use crate::tokens::{Reference, TokenRequest};

pub(super) async fn answer(mut call: Call) -> Result<Response<Body>, ApiError> {
    let negotiated = encode::negotiate(&call.headers, &call.query, call.verb)?;
    let mut request = call.decode(TOKEN_REQUEST.root_type).await?.object;
    let name = call.path.name.clone();
    let found = call.api.find(call.kind, call.namespace(), &name).await?;
    let (account, _) = found.ok_or_else(|| call.not_found(&name))?;
    let lifetime_s = lifetime(&request)?;
    let (pod, secret) = bound(&call, &request).await?;
    let audiences = request.pointer("/spec/audiences").and_then(Value::as_array);
    let audiences = audiences
        .into_iter()
        .flatten()
        .filter_map(|a| a.as_str().map(str::to_owned));
    let issued = call.api.tokens.issue(TokenRequest {
        namespace: call.namespace(),
        account: reference(&account),
        audiences: audiences.collect(),
        lifetime_s,
        pod,
        secret,
        now: Timestamp::now(),
    })?;
    request["metadata"] = json!({"name": name, "namespace": call.namespace()});
    request["spec"]["audiences"] = json!(issued.audiences);
    request["spec"]["expirationSeconds"] = json!(lifetime_s);
    request["status"] = json!({
        "token": issued.token,
        "expirationTimestamp": issued.expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    });
    Ok(encode::raw(
        &call.headers,
        negotiated.format,
        StatusCode::CREATED,
        &request,
    ))
}

fn lifetime(request: &Value) -> Result<i64, ApiError> {
    let asked = request
        .pointer("/spec/expirationSeconds")
        .and_then(Value::as_i64);
    let seconds = asked.unwrap_or(DEFAULT_LIFETIME_S);
    let detail = match seconds {
        ..MIN_LIFETIME_S => "may not specify a duration less than 10 minutes",
        MIN_LIFETIME_S..=MAX_REQUESTED_S => return Ok(seconds.min(MAX_LIFETIME_S)),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    let errors = vec![FieldError::invalid(
        "spec.expirationSeconds",
        &json!(seconds),
        detail,
    )];
    Err(invalid(errors))
}

/// The object a token is bound to: it must exist, and be the one that is meant.
async fn bound(
    call: &Call,
    request: &Value,
) -> Result<(Option<Reference>, Option<Reference>), ApiError> {
    let Some(wanted) = request
        .pointer("/spec/boundObjectRef")
        .filter(|r| !r.is_null())
    else {
        return Ok((None, None));
    };
    let plural = match (text(wanted, "/apiVersion"), text(wanted, "/kind")) {
        ("v1", "Pod") => "pods",
        ("v1", "Secret") => "secrets",
        (version, kind) => {
            let text = format!(
                "cannot bind token for serviceaccount to object of type {version}, Kind={kind}"
            );
            return Err(ApiError::BadRequest(text));
        }
    };
    let kind = kind::by_resource("", "v1", plural).expect("both have a row");
    let name = text(wanted, "/name");
    let found = call.api.find(kind, call.namespace(), name).await?;
    let (found, _) = found.ok_or_else(|| ApiError::NotFound {
        resource: kind.resource(),
        name: name.to_owned(),
    })?;
    let account = &call.path.name;
    if plural == "pods" && text(&found, "/spec/serviceAccountName") != account {
        let text = format!(
            "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
        );
        return Err(ApiError::BadRequest(text));
    }
    let found = reference(&found);
    let uid = text(wanted, "/uid");
    if !uid.is_empty() && uid != found.uid {
        return Err(ApiError::Conflict {
            resource: kind.resource(),
            name: name.to_owned(),
            message: format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record"
            ),
        });
    }
    Ok(match plural {
        "pods" => (Some(found), None),
        _ => (None, Some(found)),
    })
}

fn reference(object: &Value) -> Reference {
    Reference {
        name: text(object, "/metadata/name").to_owned(),
        uid: text(object, "/metadata/uid").to_owned(),
    }
}

fn invalid(errors: Vec<FieldError>) -> ApiError {
    ApiError::Invalid {
        kind: GroupName::new(TOKEN_REQUEST.group, TOKEN_REQUEST.kind),
        name: String::new(),
        errors,
    }
}

const DEFAULT_LIFETIME_S: i64 = 3_600;
const MIN_LIFETIME_S: i64 = 600;
const MAX_REQUESTED_S: i64 = 1 << 32;
/// What is granted at most: a day, so that a token that leaks does not stay good.
const MAX_LIFETIME_S: i64 = 86_400;
