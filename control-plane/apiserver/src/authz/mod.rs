//! Authorization: questions are answered from an in-memory view of the store's roles, never from the store itself.

mod bootstrap;
mod view;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use portcullis_resource::error::{ApiError, GroupName};
use portcullis_resource::rbac::escalation::{self, Write};
use portcullis_resource::rbac::{
    self, Attributes, Decision, Identity, Policy, Rule, Scope, UNAUTHENTICATED,
};
use serde_json::Value;

use crate::authn::User;
use crate::call::Call;

pub(crate) use bootstrap::keep_roles;
pub(crate) use view::View;

/// Who decides (`--authorization-mode`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AuthorizationMode {
    /// The roles and bindings in the store.
    #[default]
    Rbac,
    /// Everybody with an identity may do everything; without one, nothing but the public paths.
    AlwaysAllow,
}

/// Answers every question about access. Reading the newest policy is one atomic load.
pub(crate) struct Authorizer {
    mode: AuthorizationMode,
    /// `None` until the roles have been read: until then only administrators may do anything.
    policy: ArcSwapOption<Policy>,
}

impl Authorizer {
    pub(crate) fn new(mode: AuthorizationMode) -> Self {
        Self {
            mode,
            policy: ArcSwapOption::empty(),
        }
    }

    pub(crate) fn publish(&self, policy: Policy) {
        self.policy.store(Some(Arc::new(policy)));
    }

    pub(crate) fn decide(&self, identity: &Identity<'_>, asked: &Attributes<'_>) -> Decision {
        match self.mode {
            AuthorizationMode::Rbac => rbac::decide(self.policy.load().as_deref(), identity, asked),
            AuthorizationMode::AlwaysAllow if identity.is_in(UNAUTHENTICATED) => public(asked),
            AuthorizationMode::AlwaysAllow => Decision::Allow(String::new()),
        }
    }

    /// # Errors
    /// 403 with upstream's text. Without roles everybody needs an identity first: 401.
    pub(crate) fn require(&self, user: &User, asked: &Attributes<'_>) -> Result<(), ApiError> {
        let Decision::Deny(reason) = self.decide(&user.identity(), asked) else {
            return Ok(());
        };
        if self.mode == AuthorizationMode::AlwaysAllow {
            return Err(ApiError::Unauthorized);
        }
        let message = asked.refusal(&user.name, &reason);
        Err(match &asked.scope {
            Scope::Path(_) => ApiError::Forbidden {
                resource: None,
                name: String::new(),
                message,
                causes: Vec::new(),
            },
            Scope::Resource(r) => {
                ApiError::forbidden(GroupName::new(r.group, r.resource), r.name, message)
            }
        })
    }

    /// Every rule that applies to somebody in a namespace, and what could not be resolved.
    pub(crate) fn rules(
        &self,
        identity: &Identity<'_>,
        namespace: &str,
    ) -> (Vec<Rule>, Option<String>) {
        match (self.mode, self.policy.load().as_deref()) {
            (AuthorizationMode::AlwaysAllow, _) => (rbac::everything().to_vec(), None),
            (AuthorizationMode::Rbac, Some(policy)) => policy.rules_for(identity, namespace),
            (AuthorizationMode::Rbac, None) => (Vec::new(), None),
        }
    }
}

/// Whether the sender of `call` may write `new` over `old`, as far as it is a role or a binding.
///
/// # Errors
/// As `escalation::check`.
pub(crate) fn check_escalation(
    call: &Call,
    old: Option<&Value>,
    new: &Value,
) -> Result<(), ApiError> {
    let authorizer = &call.api.authorizer;
    let identity = call.user.identity();
    let write = Write {
        kind: call.kind,
        namespace: call.namespace(),
        name: &call.path.name,
        old,
        new,
    };
    let policy = authorizer.policy.load();
    let authorize = |asked: &Attributes<'_>| authorizer.decide(&identity, asked);
    escalation::check(policy.as_deref(), &identity, authorize, &write)
}

fn public(asked: &Attributes<'_>) -> Decision {
    let path = match asked.scope {
        Scope::Path(path) if asked.verb == "get" => path.trim_end_matches('/'),
        _ => "",
    };
    if PUBLIC_PATHS.contains(&path) {
        Decision::Allow(String::new())
    } else {
        Decision::Deny(String::new())
    }
}

/// What upstream's role `system:public-info-viewer` shows to everybody.
const PUBLIC_PATHS: &[&str] = &["/healthz", "/livez", "/readyz", "/version"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_the_roles_are_read_only_administrators_may_anything() {
        let authorizer = Authorizer::new(AuthorizationMode::Rbac);
        let asked = Attributes {
            verb: "get",
            scope: Scope::Path("/healthz"),
        };
        let jane = User::authenticated("jane", Vec::new());
        let refused = authorizer.require(&jane, &asked).expect_err("is refused");
        assert_eq!(
            (refused.code(), refused.to_string().as_str()),
            (
                403,
                "forbidden: User \"jane\" cannot get path \"/healthz\": RBAC: the roles have not been read yet"
            )
        );
        let root = User::authenticated("root", vec![rbac::MASTERS.to_owned()]);
        assert_eq!(authorizer.require(&root, &asked), Ok(()));
    }
}
