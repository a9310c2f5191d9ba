//! Questions that are asked by creating an object, which is never stored: access reviews and token reviews
//! (`pkg/registry/authorization`, `pkg/registry/authentication`).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::error::{ApiError, FieldError};
use crate::kind::KindSpec;
use crate::rbac::{Attributes, Decision, Identity, ResourceScope, Rule, Scope};

/// Which question a kind asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Review {
    /// May somebody do something?
    SubjectAccess,
    /// The same, by those who may only ask about one namespace.
    LocalSubjectAccess,
    /// May I?
    SelfSubjectAccess,
    /// What may I?
    SelfSubjectRules,
    /// Whose token is this?
    Token,
    /// Who am I?
    SelfSubject,
}

impl Review {
    /// `None` for kinds that are stored.
    pub fn of(kind: &KindSpec) -> Option<Self> {
        Some(match kind.plural {
            _ if kind.is_stored() => return None,
            "subjectaccessreviews" => Self::SubjectAccess,
            "localsubjectaccessreviews" => Self::LocalSubjectAccess,
            "selfsubjectaccessreviews" => Self::SelfSubjectAccess,
            "selfsubjectrulesreviews" => Self::SelfSubjectRules,
            "tokenreviews" => Self::Token,
            "selfsubjectreviews" => Self::SelfSubject,
            _ => return None,
        })
    }

    /// Checks a decoded object. `namespace` is the path's, empty for cluster kinds.
    ///
    /// # Errors
    /// 400 and 422 with upstream's texts.
    pub fn check(self, kind: &KindSpec, object: &Value, namespace: &str) -> Result<(), ApiError> {
        let spec = &object["spec"];
        let mut errors = Vec::new();
        match self {
            Self::SelfSubjectAccess => check_access(spec, &mut errors),
            Self::SubjectAccess | Self::LocalSubjectAccess => {
                check_access(spec, &mut errors);
                if text(spec, "user").is_empty() && texts(spec, "groups").is_empty() {
                    let detail = "at least one of user or group must be specified";
                    errors.push(FieldError::invalid("spec.user", &json!(""), detail));
                }
            }
            Self::SelfSubjectRules if text(spec, "namespace").is_empty() => {
                return Err(ApiError::BadRequest("no namespace on request".to_owned()));
            }
            Self::Token if text(spec, "token").is_empty() => {
                let text = "token is required for TokenReview in authentication";
                return Err(ApiError::BadRequest(text.to_owned()));
            }
            Self::SelfSubjectRules | Self::Token | Self::SelfSubject => {}
        }
        let said = text(&object["metadata"], "namespace");
        let local = self == Self::LocalSubjectAccess;
        if local {
            check_local(spec, namespace, &mut errors);
            if !said.is_empty() && said != namespace {
                let text = "the namespace of the provided object does not match the namespace sent on the request";
                return Err(ApiError::BadRequest(text.to_owned()));
            }
        }
        if !is_empty_metadata(&object["metadata"], local) {
            let detail = if local {
                "must be empty except for namespace"
            } else {
                "must be empty"
            };
            errors.push(FieldError::invalid("metadata", &object["metadata"], detail));
        }
        if errors.is_empty() {
            return Ok(());
        }
        Err(ApiError::Invalid {
            kind: kind.group_kind(),
            name: String::new(),
            errors,
        })
    }
}

fn check_access(spec: &Value, errors: &mut Vec<FieldError>) {
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    match (resource.is_null(), path.is_null()) {
        (false, false) => {
            let detail = "cannot be specified in combination with resourceAttributes";
            errors.push(FieldError::invalid(
                "spec.nonResourceAttributes",
                path,
                detail,
            ));
        }
        (true, true) => {
            let detail =
                "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.push(FieldError::invalid(
                "spec.resourceAttributes",
                &Value::Null,
                detail,
            ));
        }
        _ => {}
    }
}

fn check_local(spec: &Value, namespace: &str, errors: &mut Vec<FieldError>) {
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    if !resource.is_null() && text(resource, "namespace") != namespace {
        errors.push(FieldError::invalid(
            "spec.resourceAttributes.namespace",
            &resource["namespace"],
            "must match metadata.namespace",
        ));
    }
    if !path.is_null() {
        errors.push(FieldError::invalid(
            "spec.nonResourceAttributes",
            path,
            "disallowed on this kind of request",
        ));
    }
}

fn is_empty_metadata(metadata: &Value, namespace_allowed: bool) -> bool {
    let members = metadata.as_object().into_iter().flatten();
    members
        .filter(|(name, _)| {
            *name != "managedFields" && !(namespace_allowed && *name == "namespace")
        })
        .all(|(_, value)| match value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(members) => members.is_empty(),
            _ => false,
        })
}

/// What a checked access review asks for.
pub fn attributes(spec: &Value) -> Attributes<'_> {
    let path = &spec["nonResourceAttributes"];
    if !path.is_null() {
        return Attributes {
            verb: text(path, "verb"),
            scope: Scope::Path(text(path, "path")),
        };
    }
    let resource = &spec["resourceAttributes"];
    Attributes {
        verb: text(resource, "verb"),
        scope: Scope::Resource(ResourceScope {
            group: text(resource, "group"),
            resource: text(resource, "resource"),
            subresource: text(resource, "subresource"),
            namespace: text(resource, "namespace"),
            name: text(resource, "name"),
        }),
    }
}

/// The groups of the user that a (local) subject access review is about; its name is `spec.user`.
pub fn groups(spec: &Value) -> Vec<String> {
    texts(spec, "groups")
}

/// The status of an access review.
pub fn access_status(decision: &Decision) -> Value {
    let (Decision::Allow(reason) | Decision::Deny(reason)) = decision;
    let mut status = json!({"allowed": decision.allows()});
    if !reason.is_empty() {
        status["reason"] = json!(reason);
    }
    status
}

/// The status of a rules review.
pub fn rules_status(rules: &[Rule], unresolved: Option<String>) -> Value {
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    for rule in rules {
        if !rule.resources.is_empty() {
            let mut shown = rule.value();
            if let Some(members) = shown.as_object_mut() {
                members.remove("nonResourceURLs");
            }
            resources.push(shown);
        }
        if !rule.non_resource_urls.is_empty() {
            paths.push(json!({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls}));
        }
    }
    let mut status =
        json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false});
    if let Some(text) = unresolved {
        status["evaluationError"] = json!(text);
    }
    status
}

/// `authentication/v1 UserInfo`.
pub fn user_info(
    identity: &Identity<'_>,
    uid: &str,
    extra: &BTreeMap<String, Vec<String>>,
) -> Value {
    let mut info = Map::new();
    info.insert("username".into(), json!(identity.name));
    if !uid.is_empty() {
        info.insert("uid".into(), json!(uid));
    }
    if !identity.groups.is_empty() {
        info.insert("groups".into(), json!(identity.groups));
    }
    if !extra.is_empty() {
        info.insert("extra".into(), json!(extra));
    }
    Value::Object(info)
}

fn text<'a>(object: &'a Value, member: &str) -> &'a str {
    object[member].as_str().unwrap_or_default()
}

/// A list of texts; empty where it is absent.
pub fn texts(object: &Value, member: &str) -> Vec<String> {
    let items = object[member].as_array().into_iter().flatten();
    items
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;

    fn check(plural: &str, object: &Value, namespace: &str) -> Result<(), String> {
        let kind = kind::by_resource("authorization.k8s.io", "v1", plural).expect("is served");
        let review = Review::of(kind).expect("is a review");
        let checked = review.check(kind, object, namespace);
        checked.map_err(|error| error.to_string())
    }

    #[test]
    fn an_access_review_asks_one_thing_about_somebody() {
        let spec =
            json!({"user": "jane", "resourceAttributes": {"verb": "get", "resource": "pods"}});
        let whole = json!({"metadata": {"creationTimestamp": null}, "spec": spec});
        assert_eq!(check("subjectaccessreviews", &whole, ""), Ok(()));
        let refused = check(
            "subjectaccessreviews",
            &json!({"metadata": {"name": "x"}}),
            "",
        );
        assert_eq!(
            refused.expect_err("is refused"),
            "SubjectAccessReview.authorization.k8s.io \"\" is invalid: [spec.resourceAttributes: Invalid value: \
             null: exactly one of nonResourceAttributes or resourceAttributes must be specified, spec.user: Invalid \
             value: \"\": at least one of user or group must be specified, metadata: Invalid value: \
             {\"name\":\"x\"}: must be empty]"
        );
    }

    #[test]
    fn a_local_review_stays_in_its_namespace() {
        let spec = |namespace: &str| {
            let asked = json!({"verb": "get", "resource": "pods", "namespace": namespace});
            json!({"metadata": {"namespace": "shop"}, "spec": {"groups": ["devs"], "resourceAttributes": asked}})
        };
        assert_eq!(
            check("localsubjectaccessreviews", &spec("shop"), "shop"),
            Ok(())
        );
        let elsewhere = check("localsubjectaccessreviews", &spec("kube-system"), "shop");
        assert!(
            elsewhere
                .expect_err("is refused")
                .contains("must match metadata.namespace")
        );
        let mismatch = check("localsubjectaccessreviews", &spec("shop"), "other");
        assert!(mismatch.is_err());
    }

    #[test]
    fn rules_are_told_apart() {
        let rule = |value: Value| Rule::parse(&value);
        let rules = [
            rule(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]})),
            rule(json!({"verbs": ["get"], "nonResourceURLs": ["/healthz"]})),
        ];
        assert_eq!(
            rules_status(&rules, None),
            json!({
                "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}],
                "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz"]}],
                "incomplete": false,
            })
        );
    }
}
