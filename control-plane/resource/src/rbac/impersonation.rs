//! `Impersonate-*` headers: whom a request wants to be taken for, and what its sender must be allowed for that
//! (`endpoints/filters/impersonation`).

use std::collections::BTreeMap;

use super::{
    ANONYMOUS, AUTHENTICATED, Attributes, ResourceScope, Scope, UNAUTHENTICATED, account_groups,
    split_account_name,
};
use crate::error::ApiError;
use crate::request::percent_decoded;

/// Whom to be taken for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Impersonated {
    pub user: String,
    pub uid: String,
    /// As asked for; [`Impersonated::all_groups`] has the implied ones, too.
    groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Impersonated {
    /// Reads the headers, names in lower case. `None`: nothing of the kind is asked for.
    ///
    /// # Errors
    /// 500, as upstream, for groups and the like without a user.
    pub fn parse<'a>(
        headers: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Option<Self>, ApiError> {
        let mut asked = Self::default();
        let mut any = false;
        for (name, value) in headers {
            match name {
                // Of several users the first counts, as Go's `Header.Get` has it.
                "impersonate-user" if asked.user.is_empty() => asked.user = value.to_owned(),
                "impersonate-uid" if asked.uid.is_empty() => asked.uid = value.to_owned(),
                "impersonate-group" => asked.groups.push(value.to_owned()),
                _ => {
                    let Some(key) = name.strip_prefix("impersonate-extra-") else {
                        continue;
                    };
                    let key = percent_decoded(key).unwrap_or_else(|| key.to_owned());
                    let values = asked.extra.entry(key.to_lowercase()).or_default();
                    values.push(value.to_owned());
                }
            }
            any = true;
        }
        if !any || asked == Self::default() {
            return Ok(None);
        }
        if asked.user.is_empty() {
            let text =
                "requested to impersonate groups, a uid or extras without impersonating a user";
            return Err(ApiError::Internal(text.to_owned()));
        }
        Ok(Some(asked))
    }

    /// Everything the sender must be allowed, one question each.
    pub fn questions(&self) -> Vec<Attributes<'_>> {
        let user = match split_account_name(&self.user) {
            Some((namespace, name)) => ResourceScope {
                resource: "serviceaccounts",
                namespace,
                name,
                ..ResourceScope::default()
            },
            None => ResourceScope {
                resource: "users",
                name: &self.user,
                ..ResourceScope::default()
            },
        };
        let groups = self.groups.iter().map(|group| ResourceScope {
            resource: "groups",
            name: group,
            ..ResourceScope::default()
        });
        let uid = (!self.uid.is_empty()).then_some(ResourceScope {
            group: AUTHENTICATION,
            resource: "uids",
            name: &self.uid,
            ..ResourceScope::default()
        });
        let extra = self.extra.iter().flat_map(|(key, values)| {
            values.iter().map(move |value| ResourceScope {
                group: AUTHENTICATION,
                resource: "userextras",
                subresource: key,
                name: value,
                ..ResourceScope::default()
            })
        });
        let all = [user].into_iter().chain(groups).chain(uid).chain(extra);
        all.map(|resource| Attributes {
            verb: "impersonate",
            scope: Scope::Resource(resource),
        })
        .collect()
    }

    /// The groups asked for and those implied: a ServiceAccount's own where none are asked for, and whether the user is
    /// known or not where nothing says so.
    pub fn all_groups(&self) -> Vec<String> {
        let mut groups = self.groups.clone();
        if groups.is_empty()
            && let Some((namespace, _)) = split_account_name(&self.user)
        {
            groups = account_groups(namespace);
        }
        let said = groups
            .iter()
            .any(|group| group == AUTHENTICATED || group == UNAUTHENTICATED);
        if !said {
            let implied = match self.user.as_str() {
                ANONYMOUS => UNAUTHENTICATED,
                _ => AUTHENTICATED,
            };
            groups.push(implied.to_owned());
        }
        groups
    }
}

const AUTHENTICATION: &str = "authentication.k8s.io";
