//! ServiceAccount tokens: signed here, checked here, good only while what they are bound to exists.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use portcullis_pki::PrivateKey;
use portcullis_resource::error::ApiError;
use portcullis_resource::kind::{self, KindSpec};
use portcullis_resource::rbac;
use portcullis_store::Store;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::api::store_error;
use crate::authn::User;
use crate::object;

/// No Debug: it holds the signing key.
pub(crate) struct Tokens {
    signing: EncodingKey,
    verifying: DecodingKey,
    key_id: String,
    issuer: String,
    store: Arc<dyn Store>,
}

/// The key cannot sign tokens.
#[derive(Debug, thiserror::Error)]
#[error("the key of ServiceAccount tokens cannot be used: it must be an ECDSA P-256 key")]
pub struct TokenKeyError(#[source] jsonwebtoken::errors::Error);

/// What a token says (`kubernetes.io` claims of KEP-1205).
#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Vec<String>,
    exp: i64,
    iat: i64,
    nbf: i64,
    jti: String,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Bound,
}

#[derive(Serialize, Deserialize)]
struct Bound {
    namespace: String,
    serviceaccount: Reference,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<Reference>,
}

/// An object by name and uid.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct Reference {
    pub name: String,
    pub uid: String,
}

/// What a new token is for.
pub(crate) struct TokenRequest<'a> {
    pub namespace: &'a str,
    pub account: Reference,
    /// Empty: this server.
    pub audiences: Vec<String>,
    pub lifetime_s: i64,
    pub pod: Option<Reference>,
    pub secret: Option<Reference>,
    pub now: Timestamp,
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
        let public = key.public_key_pem();
        Ok(Self {
            signing: EncodingKey::from_ec_pem(key.pem().as_bytes()).map_err(TokenKeyError)?,
            verifying: DecodingKey::from_ec_pem(public.as_bytes()).map_err(TokenKeyError)?,
            key_id: URL_SAFE_NO_PAD.encode(Sha256::digest(public)),
            issuer: issuer.to_owned(),
            store,
        })
    }

    /// # Errors
    /// 500 when signing fails.
    pub(crate) fn issue(&self, request: TokenRequest<'_>) -> Result<IssuedToken, ApiError> {
        let audiences = if request.audiences.is_empty() {
            vec![self.issuer.clone()]
        } else {
            request.audiences
        };
        let issued = request.now.as_second();
        let claims = Claims {
            iss: self.issuer.clone(),
            sub: format!(
                "system:serviceaccount:{}:{}",
                request.namespace, request.account.name
            ),
            aud: audiences.clone(),
            exp: issued + request.lifetime_s,
            iat: issued,
            nbf: issued,
            jti: uuid::Uuid::new_v4().to_string(),
            kubernetes: Bound {
                namespace: request.namespace.to_owned(),
                serviceaccount: request.account,
                pod: request.pod,
                secret: request.secret,
            },
        };
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.key_id.clone());
        let failed = |e: &dyn std::error::Error| {
            ApiError::Internal(format!("the token cannot be signed: {e}"))
        };
        let token =
            jsonwebtoken::encode(&header, &claims, &self.signing).map_err(|e| failed(&e))?;
        let expires = Timestamp::from_second(claims.exp).map_err(|e| failed(&e))?;
        Ok(IssuedToken {
            token,
            audiences,
            expires,
        })
    }

    /// The user of a token for this server.
    ///
    /// # Errors
    /// 401: it is not ours, not for us, expired, or what it is bound to is gone.
    pub(crate) async fn user(&self, token: &str) -> Result<User, ApiError> {
        let audiences = std::slice::from_ref(&self.issuer);
        self.review(token, audiences).await.map(|(user, _)| user)
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
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(audiences);
        validation.validate_nbf = true;
        let decoded = jsonwebtoken::decode::<Claims>(token, &self.verifying, &validation)
            .map_err(|_| ApiError::Unauthorized)?;
        let Claims {
            kubernetes: bound,
            aud: held,
            ..
        } = decoded.claims;
        let namespace = &bound.namespace;
        self.check(own("serviceaccounts"), namespace, &bound.serviceaccount)
            .await?;
        if let Some(pod) = &bound.pod {
            self.check(own("pods"), namespace, pod).await?;
        }
        if let Some(secret) = &bound.secret {
            self.check(own("secrets"), namespace, secret).await?;
        }
        let name = rbac::account_name(namespace, &bound.serviceaccount.name);
        let user = User {
            uid: bound.serviceaccount.uid,
            ..User::authenticated(&name, rbac::account_groups(namespace))
        };
        let meant = audiences.iter().filter(|a| held.contains(a)).cloned();
        Ok((user, meant.collect()))
    }

    async fn check(
        &self,
        kind: &KindSpec,
        namespace: &str,
        wanted: &Reference,
    ) -> Result<(), ApiError> {
        let key = object::key(kind, namespace, &wanted.name);
        let (found, _) = self.store.get(&key, None).await.map_err(store_error)?;
        let found = found.ok_or(ApiError::Unauthorized)?;
        let found = object::decode(kind, &found)?;
        if object::text(&found, "/metadata/uid") == wanted.uid {
            Ok(())
        } else {
            Err(ApiError::Unauthorized)
        }
    }
}

fn own(plural: &str) -> &'static KindSpec {
    kind::by_resource("", "v1", plural).expect("tokens are only bound to kinds that have a row")
}
