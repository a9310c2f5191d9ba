//! Access reviews and token reviews: answered at once, stored never.

use http::{Response, StatusCode};
use portcullis_resource::error::ApiError;
use portcullis_resource::rbac::Identity;
use portcullis_resource::review::{self, Review};
use serde_json::{Value, json};

use crate::authn::User;
use crate::body::Body;
use crate::call::Call;
use crate::encode;

pub(crate) async fn answer(question: Review, mut call: Call) -> Result<Response<Body>, ApiError> {
    let negotiated = encode::negotiate(&call.headers, &call.query, call.verb)?;
    call.dry_run()?;
    let decoded = call.decode(call.kind.root_type).await?;
    let mut object = decoded.object;
    question.check(call.kind, &object, call.namespace())?;
    object["status"] = status(question, &call, &object["spec"]).await?;
    let response = encode::raw(
        &call.headers,
        negotiated.format,
        StatusCode::CREATED,
        &object,
    );
    Ok(encode::with_warnings(response, &decoded.warnings))
}

async fn status(question: Review, call: &Call, spec: &Value) -> Result<Value, ApiError> {
    let authorizer = &call.api.authorizer;
    let sender = call.user.identity();
    Ok(match question {
        Review::SubjectAccess | Review::LocalSubjectAccess => {
            let groups = review::groups(spec);
            let subject = Identity {
                name: spec["user"].as_str().unwrap_or_default(),
                groups: &groups,
            };
            let decision = authorizer.decide(&subject, &review::attributes(spec));
            review::access_status(&decision)
        }
        Review::SelfSubjectAccess => {
            let decision = authorizer.decide(&sender, &review::attributes(spec));
            review::access_status(&decision)
        }
        Review::SelfSubjectRules => {
            let namespace = spec["namespace"].as_str().unwrap_or_default();
            let (rules, unresolved) = authorizer.rules(&sender, namespace);
            review::rules_status(&rules, unresolved)
        }
        Review::Token => token(call, spec).await?,
        Review::SelfSubject => json!({"userInfo": info(&call.user)}),
    })
}

/// A token that is no good is an answer, not an error.
async fn token(call: &Call, spec: &Value) -> Result<Value, ApiError> {
    let token = spec["token"].as_str().unwrap_or_default();
    let audiences = review::texts(spec, "audiences");
    match call.api.tokens.review(token, &audiences).await {
        Ok((user, audiences)) => {
            Ok(json!({"authenticated": true, "user": info(&user), "audiences": audiences}))
        }
        Err(ApiError::Unauthorized) => Ok(json!({"user": {}, "error": "invalid bearer token"})),
        Err(error) => Err(error),
    }
}

fn info(user: &User) -> Value {
    review::user_info(&user.identity(), &user.uid, &user.extra)
}
