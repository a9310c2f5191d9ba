//! Brings the ConfigMaps, Secrets and tokens that one pod refers to.

use crate::error::{Error, Result};
use crate::pods::execute::Round;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{
    BoundObjectReference, TokenRequest as ApiRequest, TokenRequestSpec,
};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use kube::api::{Api, PostParams};
use portcullis_pod::refresh::renew_at;
use portcullis_pod::sources::{SourceRef, Sources, TokenRequest};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// The tokens one pod holds, kept until they are due for renewal.
#[derive(Clone, Default)]
pub(crate) struct Tokens(Arc<Mutex<BTreeMap<TokenRequest, Held>>>);

struct Held {
    token: String,
    renew_at: Timestamp,
    expires_at: Timestamp,
}

impl Tokens {
    fn fresh(&self, request: &TokenRequest, now: Timestamp) -> Option<String> {
        self.held(request, |held| now < held.renew_at)
    }

    /// Due for renewal, perhaps, but still of use.
    fn good(&self, request: &TokenRequest, now: Timestamp) -> Option<String> {
        self.held(request, |held| now < held.expires_at)
    }

    fn held(&self, request: &TokenRequest, fits: impl Fn(&Held) -> bool) -> Option<String> {
        let held = self.0.lock().expect("no holder of this lock panics");
        let held = held.get(request).filter(|held| fits(held))?;
        Some(held.token.clone())
    }

    fn keep(&self, request: &TokenRequest, held: Held) {
        self.0
            .lock()
            .expect("no holder of this lock panics")
            .insert(request.clone(), held);
    }
}

/// Objects that do not exist are left out: whether that matters is the planner's to say.
pub(crate) async fn sources(round: &Round, wanted: BTreeSet<SourceRef>) -> Result<Sources> {
    let (client, namespace) = (&round.node.client, round.namespace());
    let mut sources = Sources::default();
    for reference in wanted {
        match reference {
            SourceRef::ConfigMap(name) => {
                let found = Api::<ConfigMap>::namespaced(client.clone(), namespace)
                    .get_opt(&name)
                    .await;
                let found =
                    found.map_err(Error::api(format!("read the ConfigMap {namespace}/{name}")))?;
                sources.config_maps.extend(found.map(|map| (name, map)));
            }
            SourceRef::Secret(name) => {
                let found = Api::<Secret>::namespaced(client.clone(), namespace)
                    .get_opt(&name)
                    .await;
                let found =
                    found.map_err(Error::api(format!("read the Secret {namespace}/{name}")))?;
                sources.secrets.extend(found.map(|secret| (name, secret)));
            }
            SourceRef::Token(request) => {
                let token = token(round, &request).await?;
                sources.tokens.insert(request, token);
            }
        }
    }
    Ok(sources)
}

/// A token bound to this pod, so that it dies with it. One that cannot be renewed is used while it lasts.
async fn token(round: &Round, request: &TokenRequest) -> Result<String> {
    let now = Timestamp::now();
    if let Some(token) = round.tokens.fresh(request, now) {
        return Ok(token);
    }
    match renewed(round, request, now).await {
        Ok(token) => Ok(token),
        Err(error) => {
            let held = round.tokens.good(request, now).ok_or(error)?;
            tracing::debug!("a token of pod {} waits for its renewal", round.uid());
            Ok(held)
        }
    }
}

async fn renewed(round: &Round, request: &TokenRequest, asked_at: Timestamp) -> Result<String> {
    let namespace = round.namespace();
    let account = round.spec.service_account_name.as_deref();
    let account = account.unwrap_or("default");
    let body = ApiRequest {
        spec: Some(TokenRequestSpec {
            audiences: Some(request.audience.iter().cloned().collect()),
            expiration_seconds: Some(request.lifetime_seconds),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Pod".into()),
                name: round.pod.metadata.name.clone(),
                uid: round.pod.metadata.uid.clone(),
            }),
            ..TokenRequestSpec::default()
        }),
        ..ApiRequest::default()
    };
    let refused = |reason: String| Error::Token {
        account: format!("{namespace}/{account}"),
        reason,
    };
    let accounts = Api::<ServiceAccount>::namespaced(round.node.client.clone(), namespace);
    let issued = accounts
        .create_token_request(account, &PostParams::default(), &body)
        .await
        .map_err(|error| refused(error.to_string()))?;
    let status = issued.status.unwrap_or_default();
    let (Some(token), Some(expires)) = (status.token, status.expiration_timestamp) else {
        return Err(refused("the answer has no token".into()));
    };
    let held = Held {
        token: token.clone(),
        renew_at: renew_at(asked_at, expires.0),
        expires_at: expires.0,
    };
    round.tokens.keep(request, held);
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_due_is_used_while_it_lasts() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let request = TokenRequest {
            audience: None,
            lifetime_seconds: 600,
        };
        let tokens = Tokens::default();
        let held = Held {
            token: "secret".into(),
            renew_at: at(480),
            expires_at: at(600),
        };
        tokens.keep(&request, held);
        for (second, fresh, good) in [(479, true, true), (480, false, true), (600, false, false)] {
            assert_eq!(
                tokens.fresh(&request, at(second)).is_some(),
                fresh,
                "{second}"
            );
            assert_eq!(
                tokens.good(&request, at(second)).is_some(),
                good,
                "{second}"
            );
        }
    }
}
