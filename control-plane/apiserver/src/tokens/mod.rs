//! ServiceAccount tokens: signed here, checked here, good only while what they are bound to exists.

mod claims;
mod keys;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jsonwebtoken::{Header, Validation};
use portcullis_pki::PrivateKey;
use portcullis_resource::error::ApiError;
use portcullis_resource::kind::{self, KindSpec};
use portcullis_store::Store;
use serde_json::{Value, json};

use crate::api::store_error;
use crate::authn::User;
use crate::object;
use claims::{Bound, Claims, claims};
use keys::{ALGORITHM, Keys};

pub(crate) use claims::{MOUNTED_LIFETIME_S, Reference};

/// No Debug: it holds the signing key.
pub(crate) struct Tokens {
    keys: Keys,
    issuer: String,
    store: Arc<dyn Store>,
}

/// The key cannot sign tokens.
#[derive(Debug, thiserror::Error)]
pub enum TokenKeyError {
    #[error("the key of ServiceAccount tokens cannot be used: it must be an ECDSA P-256 key")]
    Kind(#[source] jsonwebtoken::errors::Error),
    #[error("the key of ServiceAccount tokens is not on the curve P-256")]
    Curve,
}

/// What a new token is for.
pub(crate) struct TokenRequest<'a> {
    pub namespace: &'a str,
    pub account: Reference,
    /// Empty: this server.
    pub audiences: Vec<String>,
    pub lifetime_s: i64,
    pub binding: Binding,
    pub now: Timestamp,
}

/// The object whose end is the token's, too.
pub(crate) enum Binding {
    None,
    Pod {
        pod: Reference,
        /// Where it runs, once that is known.
        node: Option<Reference>,
    },
    Secret(Reference),
    Node(Reference),
}

pub(crate) struct IssuedToken {
    pub token: String,
    pub audiences: Vec<String>,
    pub expires: Timestamp,
}

impl Tokens {
    pub(crate) fn new(
        key: &PrivateKey,
        issuer: &str,
        store: Arc<dyn Store>,
    ) -> Result<Self, TokenKeyError> {
        Ok(Self {
            keys: Keys::new(key)?,
            issuer: issuer.to_owned(),
            store,
        })
    }

    /// # Errors
    /// 500 when signing fails.
    pub(crate) fn issue(&self, request: TokenRequest<'_>) -> Result<IssuedToken, ApiError> {
        let id = uuid::Uuid::new_v4().to_string();
        let (claims, expires) = claims(request, &self.issuer, id);
        let mut header = Header::new(ALGORITHM);
        header.typ = None;
        header.kid = Some(self.keys.id.clone());
        let failed = |e: &dyn std::error::Error| {
            ApiError::Internal(format!("failed to generate token: {e}"))
        };
        let token =
            jsonwebtoken::encode(&header, &claims, &self.keys.signing).map_err(|e| failed(&e))?;
        Ok(IssuedToken {
            token,
            audiences: claims.aud,
            expires: Timestamp::from_second(expires).map_err(|e| failed(&e))?,
        })
    }

    /// The user of a token for this server.
    ///
    /// # Errors
    /// 401: it is not ours, not for us, expired, or what it is bound to is gone.
    pub(crate) async fn user(&self, token: &str) -> Result<User, ApiError> {
        self.review(token, &[]).await.map(|(user, _)| user)
    }

    /// The user of a token that is for any of `audiences` (none: for this server), and for which of them it is.
    ///
    /// # Errors
    /// As [`Tokens::user`].
    pub(crate) async fn review(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<(User, Vec<String>), ApiError> {
        let audiences = match audiences {
            [] => std::slice::from_ref(&self.issuer),
            named => named,
        };
        let mut validation = Validation::new(ALGORITHM);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(audiences);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY.as_secs();
        let decoded = jsonwebtoken::decode::<Claims>(token, &self.keys.verifying, &validation)
            .map_err(|_| ApiError::Unauthorized)?;
        let claims = decoded.claims;
        self.check_bound(&claims.kubernetes).await?;
        let meant = audiences.iter().filter(|a| claims.aud.contains(a));
        let meant = meant.cloned().collect();
        Ok((user(claims), meant))
    }

    /// A token of a pod whose node is gone stays good: it is the pod that it is bound to.
    async fn check_bound(&self, bound: &Bound) -> Result<(), ApiError> {
        let namespace = &bound.namespace;
        self.check("serviceaccounts", namespace, &bound.serviceaccount)
            .await?;
        if let Some(secret) = &bound.secret {
            self.check("secrets", namespace, secret).await?;
        }
        match (&bound.pod, &bound.node) {
            (Some(pod), _) => self.check("pods", namespace, pod).await,
            (None, Some(node)) => self.check("nodes", "", node).await,
            (None, None) => Ok(()),
        }
    }

    async fn check(
        &self,
        plural: &str,
        namespace: &str,
        wanted: &Reference,
    ) -> Result<(), ApiError> {
        let kind = own(plural);
        let key = object::key(kind, namespace, &wanted.name);
        let (found, _) = self.store.get(&key, None).await.map_err(store_error)?;
        let found = found.ok_or(ApiError::Unauthorized)?;
        let found = object::decode(kind, &found)?;
        if object::text(&found, "/metadata/uid") != wanted.uid || is_over(&found, Timestamp::now())
        {
            return Err(ApiError::Unauthorized);
        }
        Ok(())
    }

    /// `/.well-known/openid-configuration`, for those who check tokens themselves.
    pub(crate) fn configuration(&self, server: &str) -> Value {
        json!({
            "issuer": self.issuer,
            "jwks_uri": format!("https://{server}/openid/v1/jwks"),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }

    /// `/openid/v1/jwks`.
    pub(crate) fn key_set(&self) -> Value {
        self.keys.set()
    }
}

/// What is marked for deletion keeps its tokens until its time of grace is over, and a little.
fn is_over(object: &Value, now: Timestamp) -> bool {
    let marked = object::text(object, "/metadata/deletionTimestamp").parse::<Timestamp>();
    marked.is_ok_and(|marked| marked < now - LEEWAY)
}

fn user(claims: Claims) -> User {
    let bound = claims.kubernetes;
    let namespace = &bound.namespace;
    let groups = vec![
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
    ];
    let mut extra = BTreeMap::from([credential(format!("JTI={}", claims.jti), "credential-id")]);
    if let Some(pod) = bound.pod {
        extra.extend([
            credential(pod.name, "pod-name"),
            credential(pod.uid, "pod-uid"),
        ]);
    }
    if let Some(node) = bound.node {
        extra.extend([credential(node.name, "node-name")]);
        if !node.uid.is_empty() {
            extra.extend([credential(node.uid, "node-uid")]);
        }
    }
    User {
        uid: bound.serviceaccount.uid,
        extra,
        ..User::authenticated(&claims.sub, groups)
    }
}

fn credential(value: String, key: &str) -> (String, Vec<String>) {
    (format!("authentication.kubernetes.io/{key}"), vec![value])
}

fn own(plural: &str) -> &'static KindSpec {
    kind::by_resource("", "v1", plural).expect("tokens are only bound to kinds that have a row")
}

/// Clocks differ: upstream's allowance for expiry, and for the end of what a token is bound to.
const LEEWAY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_being_deleted_keeps_its_tokens_for_its_grace_and_a_minute() {
        let object = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:01:00Z"}});
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        assert!(!is_over(&object, at("2026-01-01T00:00:30Z")));
        assert!(!is_over(&object, at("2026-01-01T00:02:00Z")));
        assert!(is_over(&object, at("2026-01-01T00:02:01Z")));
        assert!(!is_over(
            &json!({"metadata": {}}),
            at("2026-01-01T00:02:01Z")
        ));
    }
}
