//! Authorization: the seam where RBAC will sit.

use portcullis_resource::request::{RequestInfo, Target};

use crate::authn::User;

/// One question to an authorizer.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub user: &'a User,
    pub info: &'a RequestInfo,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Allow,
    /// Refused; the reason is for the client.
    Deny(String),
}

pub trait Authorizer: Send + Sync {
    fn authorize(&self, request: &Request<'_>) -> Decision;
}

/// Everybody with an identity may do everything; without one, nothing but the public paths.
#[derive(Debug, Clone, Copy, Default)]
pub struct AnyAuthenticated;

impl Authorizer for AnyAuthenticated {
    fn authorize(&self, request: &Request<'_>) -> Decision {
        if request.user.is_in("system:authenticated") {
            Decision::Allow
        } else {
            Decision::Deny(String::new())
        }
    }
}

/// The answer for one request: administrators always may, everybody may see [`PUBLIC_PATHS`], the rest is up to
/// `authorizer`. The text of a refusal is upstream's.
pub(crate) fn decide(authorizer: &dyn Authorizer, request: &Request<'_>) -> Decision {
    if request.user.is_in("system:masters") || is_public(request.info) {
        return Decision::Allow;
    }
    match authorizer.authorize(request) {
        Decision::Allow => Decision::Allow,
        Decision::Deny(reason) => Decision::Deny(refusal(request, &reason)),
    }
}

fn is_public(info: &RequestInfo) -> bool {
    match &info.target {
        Target::Path(path) => PUBLIC_PATHS.contains(&path.trim_end_matches('/')),
        Target::Resource(_) => false,
    }
}

fn refusal(request: &Request<'_>, reason: &str) -> String {
    let user = &request.user.name;
    let verb = request.info.verb.name();
    let mut text = match &request.info.target {
        Target::Path(path) => format!("User {user:?} cannot {verb} path {path:?}"),
        Target::Resource(r) => {
            let resource = match r.subresource.as_str() {
                "" => r.resource.clone(),
                sub => format!("{}/{sub}", r.resource),
            };
            let place = match r.namespace.as_str() {
                "" => "at the cluster scope".to_owned(),
                namespace => format!("in the namespace {namespace:?}"),
            };
            format!(
                "User {user:?} cannot {verb} resource {resource:?} in API group {:?} {place}",
                r.group
            )
        }
    };
    if !reason.is_empty() {
        text.push_str(": ");
        text.push_str(reason);
    }
    text
}

/// What upstream's role `system:public-info-viewer` shows to everybody.
const PUBLIC_PATHS: &[&str] = &["/healthz", "/livez", "/readyz", "/version"];

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_resource::request::Query;

    struct Nobody;

    impl Authorizer for Nobody {
        fn authorize(&self, _: &Request<'_>) -> Decision {
            Decision::Deny("no".into())
        }
    }

    fn ask(user: &User, path: &str) -> Decision {
        let info = RequestInfo::parse("GET", path, &Query::default()).expect("parses");
        decide(&Nobody, &Request { user, info: &info })
    }

    #[test]
    fn refusals_name_user_verb_and_resource() {
        let user = User::authenticated("jane", vec![]);
        assert_eq!(
            ask(&user, "/apis/apps/v1/namespaces/shop/deployments"),
            Decision::Deny(
                "User \"jane\" cannot list resource \"deployments\" in API group \"apps\" in the namespace \"shop\": no"
                    .into()
            )
        );
    }

    #[test]
    fn administrators_and_public_paths_pass() {
        let admin = User::authenticated("root", vec!["system:masters".into()]);
        assert_eq!(ask(&admin, "/api/v1/secrets"), Decision::Allow);
        assert_eq!(ask(&User::anonymous(), "/readyz"), Decision::Allow);
        assert!(matches!(
            ask(&User::anonymous(), "/metrics"),
            Decision::Deny(_)
        ));
    }
}
