//! What a token says: registered claims (RFC 7519 section 4.1) and `kubernetes.io` (KEP-1205, KEP-4193).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Binding, TokenRequest};

#[derive(Serialize, Deserialize)]
pub(super) struct Claims {
    pub aud: Vec<String>,
    pub exp: i64,
    pub iat: i64,
    pub iss: String,
    pub jti: String,
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Bound,
    pub nbf: i64,
    pub sub: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Bound {
    pub namespace: String,
    /// Of a pod's token: where the pod runs. Alone: what the token is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    pub serviceaccount: Reference,
    /// When a token that was given a longer life should have been replaced, in seconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// An object by name and uid.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct Reference {
    pub name: String,
    /// Empty for the node of a pod that the API does not know (yet): the name alone is stated then.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// The claims of a token, and when its owner is told that it expires.
pub(super) fn claims(request: TokenRequest<'_>, issuer: &str, jti: String) -> (Claims, i64) {
    let audiences = match request.audiences {
        none if none.is_empty() => vec![issuer.to_owned()],
        audiences => audiences,
    };
    let issued = Timestamp::as_second(request.now);
    let expires = issued + request.lifetime_s;
    let mounted = matches!(request.binding, Binding::Pod { .. })
        && request.lifetime_s == MOUNTED_LIFETIME_S
        && audiences.iter().all(|audience| audience == issuer);
    let (mut pod, mut secret, mut node) = (None, None, None);
    match request.binding {
        Binding::None => {}
        Binding::Pod { pod: it, node: on } => (pod, node) = (Some(it), on),
        Binding::Secret(it) => secret = Some(it),
        Binding::Node(it) => node = Some(it),
    }
    let claims = Claims {
        aud: audiences,
        exp: if mounted {
            issued + STRETCHED_LIFETIME_S
        } else {
            expires
        },
        iat: issued,
        iss: issuer.to_owned(),
        jti,
        nbf: issued,
        sub: format!(
            "system:serviceaccount:{}:{}",
            request.namespace, request.account.name
        ),
        kubernetes: Bound {
            namespace: request.namespace.to_owned(),
            node,
            pod,
            secret,
            serviceaccount: request.account,
            warnafter: mounted.then_some(expires),
        },
    };
    (claims, expires)
}

/// What every pod's `kube-api-access` volume asks for: an hour and a little, by which these tokens are told from others.
pub(crate) const MOUNTED_LIFETIME_S: i64 = 3_607;
/// What such a token is good for in truth (`--service-account-extend-token-expiration`): clients that read the file once
/// and never again go on working. It still dies with its pod.
const STRETCHED_LIFETIME_S: i64 = 365 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_000, 0);

    fn reference(name: &str) -> Reference {
        Reference {
            name: name.into(),
            uid: format!("uid-{name}"),
        }
    }

    fn made(binding: Binding, lifetime_s: i64, audiences: &[&str]) -> (Claims, i64) {
        let request = TokenRequest {
            namespace: "shop",
            account: reference("bob"),
            audiences: audiences.iter().map(|a| (*a).to_owned()).collect(),
            lifetime_s,
            binding,
            now: NOW,
        };
        claims(request, "https://issuer", "id".into())
    }

    fn pod() -> Binding {
        Binding::Pod {
            pod: reference("web"),
            node: Some(Reference {
                name: "a".into(),
                uid: String::new(),
            }),
        }
    }

    #[test]
    fn they_are_upstreams() {
        let (claims, expires) = made(pod(), 600, &[]);
        assert_eq!(expires, 1_600);
        let expected = serde_json::json!({
            "aud": ["https://issuer"],
            "exp": 1_600,
            "iat": 1_000,
            "iss": "https://issuer",
            "jti": "id",
            "kubernetes.io": {
                "namespace": "shop",
                "node": {"name": "a"},
                "pod": {"name": "web", "uid": "uid-web"},
                "serviceaccount": {"name": "bob", "uid": "uid-bob"},
            },
            "nbf": 1_000,
            "sub": "system:serviceaccount:shop:bob",
        });
        assert_eq!(serde_json::to_value(&claims).unwrap(), expected);
    }

    #[test]
    fn a_mounted_token_outlives_what_its_owner_is_told() {
        let (claims, expires) = made(pod(), MOUNTED_LIFETIME_S, &["https://issuer"]);
        assert_eq!((expires, claims.exp), (4_607, 1_000 + 365 * 86_400));
        assert_eq!(claims.kubernetes.warnafter, Some(4_607));
        for (binding, audiences) in [
            (pod(), ["vault"]),
            (Binding::Secret(reference("s")), ["https://issuer"]),
            (Binding::None, ["https://issuer"]),
        ] {
            let (claims, expires) = made(binding, MOUNTED_LIFETIME_S, &audiences);
            assert_eq!((claims.exp, claims.kubernetes.warnafter), (expires, None));
        }
    }
}
