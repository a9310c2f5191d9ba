//! Who asks: client certificate, then bearer token, else anonymous.

use std::collections::BTreeMap;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use portcullis_pki::CertificateInfo;
use portcullis_resource::error::ApiError;
use portcullis_serve::Peer;

use crate::tokens::Tokens;

/// An authenticated (or anonymous) user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
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
            name: "system:anonymous".to_owned(),
            groups: vec!["system:unauthenticated".to_owned()],
            uid: String::new(),
            extra: BTreeMap::new(),
        }
    }

    /// A user known by name; joins `system:authenticated`.
    pub fn authenticated(name: &str, mut groups: Vec<String>) -> Self {
        groups.push("system:authenticated".to_owned());
        Self {
            name: name.to_owned(),
            groups,
            uid: String::new(),
            extra: BTreeMap::new(),
        }
    }

    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
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
