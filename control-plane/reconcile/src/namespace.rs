//! Namespace deletion: pods first, then everything else discovery knows, then the finalizer.
//!
//! Ordered deletion is KEP-5080; conditions and messages are upstream's, because people grep them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition, NamespaceSpec, NamespaceStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::plan::{Action, Object, Plan, Resource};

const FINALIZER: &str = "kubernetes";
/// The pause between two looks grows with the age of the deletion, between these.
const SOONEST: SignedDuration = SignedDuration::from_millis(50);
const LATEST: SignedDuration = SignedDuration::from_secs(15);

/// What is left of one kind in the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub resource: Resource,
    pub remaining: usize,
    /// Finalizer → how many objects carry it.
    pub finalizers: BTreeMap<String, usize>,
}

/// What one namespace's decision needs.
pub struct Observed<'a> {
    pub namespace: &'a Namespace,
    pub contents: &'a [Content],
    /// API groups that did not answer discovery. The rest is deleted all the same.
    pub discovery_failures: &'a [String],
    /// Kinds that could not be listed or deleted.
    pub content_failures: &'a [String],
}

pub fn is_terminating(namespace: &Namespace) -> bool {
    namespace.metadata.deletion_timestamp.is_some()
}

/// Whether this controller still has to empty the namespace.
pub fn needs_emptying(namespace: &Namespace) -> bool {
    let finalizers = namespace
        .spec
        .as_ref()
        .and_then(|spec| spec.finalizers.as_ref());
    is_terminating(namespace)
        && finalizers.is_some_and(|finalizers| finalizers.iter().any(|name| name == FINALIZER))
}

/// Decides the next step of a namespace's deletion.
pub fn plan(observed: &Observed<'_>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    if !needs_emptying(observed.namespace) {
        return plan;
    }
    let remaining: Vec<&Content> = observed
        .contents
        .iter()
        .filter(|content| content.remaining > 0)
        .collect();
    if remaining.is_empty()
        && observed.discovery_failures.is_empty()
        && observed.content_failures.is_empty()
    {
        plan.actions
            .push(Action::Finalize(Object::Namespace(Box::new(finalized(
                observed.namespace,
            )))));
        return plan;
    }
    let is_pods =
        |content: &&&Content| content.resource.group.is_empty() && content.resource.kind == "Pod";
    let pods_remain = remaining.iter().any(|content| is_pods(&content));
    let name = observed.namespace.metadata.name.clone().unwrap_or_default();
    let doomed = remaining
        .iter()
        .filter(|content| !pods_remain || is_pods(content));
    plan.actions
        .extend(doomed.map(|content| Action::DeleteCollection {
            resource: content.resource.clone(),
            namespace: name.clone(),
        }));
    plan.status = status(observed, &remaining, now);
    plan.look_again_in(pause(observed.namespace, now));
    plan
}

fn finalized(namespace: &Namespace) -> Namespace {
    let mut namespace = namespace.clone();
    let others = namespace
        .spec
        .take()
        .and_then(|spec| spec.finalizers)
        .unwrap_or_default();
    let others = others
        .into_iter()
        .filter(|name| name != FINALIZER)
        .collect();
    namespace.spec = Some(NamespaceSpec {
        finalizers: Some(others),
    });
    namespace
}

fn pause(namespace: &Namespace, now: Timestamp) -> SignedDuration {
    let since = namespace
        .metadata
        .deletion_timestamp
        .as_ref()
        .map_or(now, |time| time.0);
    (now.duration_since(since) / 4).clamp(SOONEST, LATEST)
}

fn status(observed: &Observed<'_>, remaining: &[&Content], now: Timestamp) -> Option<Object> {
    let current = observed.namespace.status.clone().unwrap_or_default();
    let before = current.conditions.unwrap_or_default();
    let conditions: Vec<NamespaceCondition> = findings(observed, remaining)
        .into_iter()
        .map(|finding| {
            let standing = before
                .iter()
                .find(|condition| condition.type_ == finding.kind);
            let same_status = standing.filter(|condition| condition.status == finding.status);
            let since = same_status.and_then(|condition| condition.last_transition_time.clone());
            NamespaceCondition {
                type_: finding.kind.to_owned(),
                status: finding.status.to_owned(),
                reason: Some(finding.reason.to_owned()),
                message: Some(finding.message),
                last_transition_time: since.or(Some(Time(now))),
            }
        })
        .collect();
    if conditions == before {
        return None;
    }
    let mut updated = observed.namespace.clone();
    updated.status = Some(NamespaceStatus {
        conditions: Some(conditions),
        ..current
    });
    Some(Object::Namespace(Box::new(updated)))
}

struct Finding {
    kind: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
}

impl Finding {
    fn trouble(kind: &'static str, reason: &'static str, message: String) -> Self {
        Self {
            kind,
            status: "True",
            reason,
            message,
        }
    }

    fn fine(kind: &'static str, reason: &'static str, message: &str) -> Self {
        Self {
            kind,
            status: "False",
            reason,
            message: message.to_owned(),
        }
    }
}

fn findings(observed: &Observed<'_>, remaining: &[&Content]) -> Vec<Finding> {
    let mut finalizers: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, count) in remaining.iter().flat_map(|content| &content.finalizers) {
        *finalizers.entry(name).or_insert(0) += count;
    }
    let kind = "NamespaceDeletionDiscoveryFailure";
    let discovery = if observed.discovery_failures.is_empty() {
        Finding::fine(
            kind,
            "ResourcesDiscovered",
            "All resources successfully discovered",
        )
    } else {
        let message = format!(
            "Discovery failed for some groups: {}",
            observed.discovery_failures.join(", ")
        );
        Finding::trouble(kind, "DiscoveryFailed", message)
    };
    let kind = "NamespaceDeletionContentFailure";
    let deletion = if observed.content_failures.is_empty() {
        let message = "All content successfully deleted, may be waiting on finalization";
        Finding::fine(kind, "ContentDeleted", message)
    } else {
        let message = format!(
            "Failed to delete all resource types: {}",
            observed.content_failures.join(", ")
        );
        Finding::trouble(kind, "ContentDeletionFailed", message)
    };
    let kind = "NamespaceContentRemaining";
    let content = if remaining.is_empty() {
        Finding::fine(kind, "ContentRemoved", "All content successfully removed")
    } else {
        let kinds = remaining.iter().map(|content| {
            let Resource { plural, group, .. } = &content.resource;
            format!(
                "{plural}.{group} has {} resource instances",
                content.remaining
            )
        });
        let message = format!(
            "Some resources are remaining: {}",
            kinds.collect::<Vec<_>>().join(", ")
        );
        Finding::trouble(kind, "SomeResourcesRemain", message)
    };
    let kind = "NamespaceFinalizersRemaining";
    let finalization = if finalizers.is_empty() {
        Finding::fine(
            kind,
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        )
    } else {
        let counted = finalizers
            .iter()
            .map(|(name, count)| format!("{name} in {count} resource instances"));
        let counted = counted.collect::<Vec<_>>().join(", ");
        let message = format!("Some content in the namespace has finalizers remaining: {counted}");
        Finding::trouble(kind, "SomeFinalizersRemain", message)
    };
    let parsing = Finding::fine(
        "NamespaceDeletionGroupVersionParsingFailure",
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    );
    vec![discovery, parsing, deletion, content, finalization]
}
