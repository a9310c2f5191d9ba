//! Delete: at once, after finalizers, or after a grace period.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{DeleteDecision, DeleteOptions, Propagation, WriteContext, metadata};
use crate::codec::instant::{parse_time, time_text};
use crate::error::{ApiError, FieldError, GroupName};
use crate::kind::KindSpec;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
/// Pods' grace where nobody says another, seconds.
const DEFAULT_GRACE_S: i64 = 30;

impl DeleteOptions {
    /// Reads a decoded body. Errors: 422 of kind DeleteOptions.
    pub fn parse(body: &Value) -> Result<Self, ApiError> {
        let mut errors = Vec::new();
        let dry_run: Vec<&Value> = body["dryRun"].as_array().into_iter().flatten().collect();
        for value in dry_run.iter().filter(|value| **value != "All") {
            errors.push(FieldError::not_supported("dryRun", value, &["All"]));
        }
        let orphan = body["orphanDependents"].as_bool();
        let policy = body["propagationPolicy"].as_str();
        if orphan.is_some() && policy.is_some() {
            let detail = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(FieldError::invalid(
                "propagationPolicy",
                &body["propagationPolicy"],
                detail,
            ));
        }
        let propagation = match (policy, orphan) {
            (Some("Orphan"), _) | (None, Some(true)) => Some(Propagation::Orphan),
            (Some("Background"), _) | (None, Some(false)) => Some(Propagation::Background),
            (Some("Foreground"), _) => Some(Propagation::Foreground),
            (None, None) => None,
            (Some(_), _) => {
                let supported = ["Foreground", "Background", "Orphan", "nil"];
                let value = &body["propagationPolicy"];
                errors.push(FieldError::not_supported(
                    "propagationPolicy",
                    value,
                    &supported,
                ));
                None
            }
        };
        if !errors.is_empty() {
            let kind = GroupName::new("", "DeleteOptions");
            return Err(ApiError::Invalid {
                kind,
                name: String::new(),
                errors,
            });
        }
        let precondition = |name: &str| body["preconditions"][name].as_str().map(str::to_owned);
        Ok(Self {
            // Upstream takes a negative grace for one second.
            grace_period_s: body["gracePeriodSeconds"]
                .as_i64()
                .map(|s| if s < 0 { 1 } else { s }),
            propagation,
            precondition_uid: precondition("uid"),
            precondition_resource_version: precondition("resourceVersion"),
            dry_run: !dry_run.is_empty(),
        })
    }
}

/// What a DELETE of `current` comes to.
///
/// Errors: 409 for failed preconditions.
pub fn delete(
    kind: &KindSpec,
    current: &Value,
    options: &DeleteOptions,
    context: &WriteContext<'_>,
) -> Result<DeleteDecision, ApiError> {
    check_preconditions(kind, current, options)?;
    if kind.group.is_empty() && kind.kind == "Namespace" {
        return Ok(delete_namespace(current, context.now));
    }
    let mut next = current.clone();
    let changed_finalizers = set_finalizers(&mut next, options.propagation);
    let held = next["metadata"]["finalizers"]
        .as_array()
        .is_some_and(|list| !list.is_empty());
    let grace = if kind.strategy.graceful_delete {
        grace_for(current, options)
    } else {
        Grace::None
    };
    Ok(match grace {
        Grace::Pending if changed_finalizers => DeleteDecision::MarkDeleting(next),
        Grace::Pending => DeleteDecision::Unchanged(next),
        Grace::Start(seconds) => {
            if current["metadata"]["deletionTimestamp"].is_null() {
                metadata::bump_generation(&mut next);
            }
            set_deadline(&mut next, current, context.now, seconds);
            if seconds > 0 || held {
                DeleteDecision::MarkDeleting(next)
            } else {
                DeleteDecision::Remove(next)
            }
        }
        Grace::None if held => {
            let marked = mark_deleting(&mut next, context.now);
            if marked || changed_finalizers {
                DeleteDecision::MarkDeleting(next)
            } else {
                DeleteDecision::Unchanged(next)
            }
        }
        Grace::None => DeleteDecision::Remove(next),
    })
}

fn check_preconditions(
    kind: &KindSpec,
    current: &Value,
    options: &DeleteOptions,
) -> Result<(), ApiError> {
    let conflict = |message: String| ApiError::Conflict {
        resource: kind.resource(),
        name: metadata::text(current, "name").to_owned(),
        message,
    };
    let uid = metadata::text(current, "uid");
    if let Some(asked) = options
        .precondition_uid
        .as_deref()
        .filter(|asked| *asked != uid)
    {
        return Err(conflict(metadata::uid_mismatch(asked, uid)));
    }
    let version = metadata::text(current, "resourceVersion");
    match options.precondition_resource_version.as_deref() {
        Some(asked) if asked != version => Err(conflict(format!(
            "Precondition failed: ResourceVersion in precondition: {asked}, ResourceVersion in object meta: {version}"
        ))),
        _ => Ok(()),
    }
}

enum Grace {
    /// The kind has none, or it is over.
    None,
    /// Already running; nothing to change.
    Pending,
    /// To be set to this many seconds.
    Start(i64),
}

fn grace_for(pod: &Value, options: &DeleteOptions) -> Grace {
    if pod["metadata"]["deletionTimestamp"].is_string() {
        // The running grace may only be shortened.
        return match (
            pod["metadata"]["deletionGracePeriodSeconds"].as_i64(),
            options.grace_period_s,
        ) {
            (None, _) => Grace::None,
            (Some(running), Some(asked)) if asked < running => Grace::Start(asked),
            _ => Grace::Pending,
        };
    }
    let unscheduled = pod["spec"]["nodeName"]
        .as_str()
        .unwrap_or_default()
        .is_empty();
    let ended = matches!(
        pod["status"]["phase"].as_str(),
        Some("Failed" | "Succeeded")
    );
    if unscheduled || ended {
        return Grace::Start(0);
    }
    let own = pod["spec"]["terminationGracePeriodSeconds"].as_i64();
    let seconds = options.grace_period_s.or(own).unwrap_or(DEFAULT_GRACE_S);
    Grace::Start(if seconds < 0 { 1 } else { seconds })
}

fn set_deadline(next: &mut Value, current: &Value, now: Timestamp, seconds: i64) {
    let running = current["metadata"]["deletionGracePeriodSeconds"]
        .as_i64()
        .unwrap_or(0);
    let started = current["metadata"]["deletionTimestamp"]
        .as_str()
        .and_then(parse_time);
    let (from, shift) = match started {
        Some(deadline) => (deadline, seconds - running),
        None => (now, seconds),
    };
    // A grace beyond the calendar ends with it.
    let deadline = from
        .checked_add(SignedDuration::from_secs(shift))
        .unwrap_or(Timestamp::MAX);
    next["metadata"]["deletionTimestamp"] = time_text(deadline).into();
    next["metadata"]["deletionGracePeriodSeconds"] = seconds.into();
}

/// `false` when it was marked before.
fn mark_deleting(next: &mut Value, now: Timestamp) -> bool {
    if next["metadata"]["deletionTimestamp"].is_string() {
        return false;
    }
    next["metadata"]["deletionTimestamp"] = time_text(now).into();
    next["metadata"]["deletionGracePeriodSeconds"] = 0.into();
    metadata::bump_generation(next);
    true
}

/// The garbage collector's finalizers as the policy wants them; `false` when they were so before.
fn set_finalizers(next: &mut Value, propagation: Option<Propagation>) -> bool {
    let wanted = match propagation {
        None => return false,
        Some(Propagation::Orphan) => Some(ORPHAN),
        Some(Propagation::Foreground) => Some(FOREGROUND),
        Some(Propagation::Background) => None,
    };
    let before = next["metadata"]["finalizers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let ours = |finalizer: &Value| finalizer == ORPHAN || finalizer == FOREGROUND;
    let mut after: Vec<Value> = before
        .iter()
        .filter(|f| !ours(f) || wanted.is_some_and(|w| *f == w))
        .cloned()
        .collect();
    if let Some(wanted) = wanted.filter(|wanted| !after.iter().any(|f| f == wanted)) {
        after.push(wanted.into());
    }
    if after == before {
        return false;
    }
    if after.is_empty() {
        metadata::of(next).remove("finalizers");
    } else {
        next["metadata"]["finalizers"] = after.into();
    }
    true
}

/// A namespace lives until its controller has emptied it and taken the finalizers away.
fn delete_namespace(current: &Value, now: Timestamp) -> DeleteDecision {
    let holds = |value: &Value| value.as_array().is_some_and(|list| !list.is_empty());
    let held = holds(&current["spec"]["finalizers"]) || holds(&current["metadata"]["finalizers"]);
    let mut next = current.clone();
    if current["metadata"]["deletionTimestamp"].is_null() {
        next["metadata"]["deletionTimestamp"] = time_text(now).into();
        let mut status = current["status"].as_object().cloned().unwrap_or_default();
        status.insert("phase".to_owned(), json!("Terminating"));
        next["status"] = status.into();
        return if held {
            DeleteDecision::MarkDeleting(next)
        } else {
            DeleteDecision::Remove(next)
        };
    }
    if held {
        DeleteDecision::Unchanged(next)
    } else {
        DeleteDecision::Remove(next)
    }
}
