//! Who asks: client certificate, then bearer token, else anonymous; and for whom.

use std::collections::BTreeMap;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use portcullis_pki::CertificateInfo;
use portcullis_resource::error::ApiError;
use portcullis_resource::rbac::impersonation::Impersonated;
use portcullis_resource::rbac::{ANONYMOUS, AUTHENTICATED, Identity, UNAUTHENTICATED};
use portcullis_serve::Peer;

use crate::authz::Authorizer;
use crate::tokens::Tokens;

/// An authenticated (or anonymous) user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub name: String,
    pub groups: Vec<String>,
    /// Of ServiceAccounts; empty otherwise.
    pub uid: String,
    /// Of ServiceAccounts: the token, the pod and the node it belongs to, under upstream's keys.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    pub fn anonymous() -> Self {
        Self {
            name: ANONYMOUS.to_owned(),
            groups: vec![UNAUTHENTICATED.to_owned()],
            uid: String::new(),
            extra: BTreeMap::new(),
        }
    }

    /// A user known by name; joins `system:authenticated`.
    pub fn authenticated(name: &str, mut groups: Vec<String>) -> Self {
        groups.push(AUTHENTICATED.to_owned());
        Self {
            name: name.to_owned(),
            groups,
            uid: String::new(),
            extra: BTreeMap::new(),
        }
    }

    pub fn identity(&self) -> Identity<'_> {
        Identity {
            name: &self.name,
            groups: &self.groups,
        }
    }
}

/// The user of a connection's client certificate (CN = user, O = groups), which TLS has verified.
pub(crate) fn certificate_user(peer: &Peer) -> Option<User> {
    let leaf = peer.tls.as_ref()?.client_certificates.first()?;
    let info = CertificateInfo::from_der(leaf).ok()?;
    if info.common_name.is_empty() {
        return None;
    }
    Some(User::authenticated(&info.common_name, info.organizations))
}

/// The user of one request.
///
/// # Errors
/// 401 for a token that is no good: it must not pass as anonymous.
pub(crate) async fn user(
    certificate: Option<&User>,
    headers: &HeaderMap,
    tokens: &Tokens,
) -> Result<User, ApiError> {
    if let Some(user) = certificate {
        return Ok(user.clone());
    }
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Ok(User::anonymous());
    };
    let text = value.to_str().map_err(|_| ApiError::Unauthorized)?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            tokens.user(token.trim()).await
        }
        // Other schemes are not ours; upstream ignores them, too.
        _ => Ok(User::anonymous()),
    }
}

/// Whom the request is to be taken for: its sender, or with `Impersonate-*` headers somebody else.
///
/// # Errors
/// 403 where the sender may not `impersonate` each part, 500 for headers without a user, 400 for what is no text.
pub(crate) fn impersonated(
    sender: User,
    headers: &HeaderMap,
    authorizer: &Authorizer,
) -> Result<User, ApiError> {
    let mut asked = Vec::new();
    for (name, value) in headers {
        if name.as_str().starts_with("impersonate-") {
            // What cannot be read must not be overlooked: the request would pass as its sender's.
            let text = std::str::from_utf8(value.as_bytes())
                .map_err(|_| ApiError::BadRequest(format!("the header {name} is not UTF-8")))?;
            asked.push((name.as_str(), text));
        }
    }
    let Some(whom) = Impersonated::parse(asked.into_iter())? else {
        return Ok(sender);
    };
    for question in whom.questions() {
        authorizer.require(&sender, &question)?;
    }
    tracing::debug!(sender = sender.name, user = whom.user, "impersonation");
    Ok(User {
        groups: whom.all_groups(),
        name: whom.user,
        uid: whom.uid,
        extra: whom.extra,
    })
}
