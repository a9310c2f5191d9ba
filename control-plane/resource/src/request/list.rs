//! `meta/v1 ListOptions` in the query of lists and watches.

use serde_json::json;

use super::{PageToken, Query};
use crate::error::{ApiError, FieldError, GroupName};
use crate::kind::KindSpec;
use crate::selector::{FieldSelector, LabelSelector};

/// `resourceVersionMatch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionMatch {
    /// The state at least as new as the version, or as now where there is no version.
    NotOlderThan,
    /// The state at that version.
    Exact,
}

/// Options of a list.
#[derive(Debug, Clone)]
pub struct ListOptions {
    pub labels: LabelSelector,
    pub fields: FieldSelector,
    /// 0: the client named none, or said that any version will do.
    pub resource_version: u64,
    pub version_match: VersionMatch,
    /// `None`: all.
    pub limit: Option<usize>,
    pub page: Option<PageToken>,
}

/// Options of a watch.
#[derive(Debug, Clone)]
pub struct WatchOptions {
    pub labels: LabelSelector,
    pub fields: FieldSelector,
    /// Events come after this version; 0: the client named none, or any.
    pub resource_version: u64,
    /// Begin with the objects there are.
    pub initial_events: bool,
    /// Close them with a bookmark that says so.
    pub initial_events_end: bool,
    pub bookmarks: bool,
    /// `None`: the server chooses.
    pub timeout_s: Option<u64>,
}

impl ListOptions {
    /// # Errors
    /// 400 for selectors and tokens that cannot be read, 422 of kind ListOptions for what does not go together.
    pub fn parse(query: &Query, kind: &KindSpec) -> Result<Self, ApiError> {
        let token = query.first("continue");
        let version = query.first("resourceVersion");
        let matching = query.first("resourceVersionMatch");
        let mut errors = check_match(matching, version);
        if !matching.is_empty() && !token.is_empty() {
            let detail = "resourceVersionMatch is forbidden when continue is provided";
            errors.push(FieldError::forbidden("resourceVersionMatch", detail));
        }
        if query.flag("sendInitialEvents").is_some() {
            let detail = "sendInitialEvents is forbidden for list";
            errors.push(FieldError::forbidden("sendInitialEvents", detail));
        }
        refuse(errors)?;
        let limit = number(query, "limit")?.filter(|n| *n > 0);
        let resource_version = parse_version(version)?;
        let page = match token {
            "" => None,
            _ if !matches!(version, "" | "0") => {
                let text = "specifying resource version is not allowed when using continue";
                return Err(ApiError::BadRequest(text.to_owned()));
            }
            token => Some(PageToken::parse(token)?),
        };
        // A limit with a version but without a match has always meant that very version.
        let exact =
            matching == "Exact" || (matching.is_empty() && limit.is_some() && resource_version > 0);
        Ok(Self {
            labels: LabelSelector::parse(query.first("labelSelector"))?,
            fields: FieldSelector::parse(query.first("fieldSelector"), kind)?,
            resource_version,
            version_match: if exact {
                VersionMatch::Exact
            } else {
                VersionMatch::NotOlderThan
            },
            limit: limit.and_then(|n| usize::try_from(n).ok()),
            page,
        })
    }
}

impl WatchOptions {
    /// # Errors
    /// As [`ListOptions::parse`].
    pub fn parse(query: &Query, kind: &KindSpec) -> Result<Self, ApiError> {
        let version = query.first("resourceVersion");
        let matching = query.first("resourceVersionMatch");
        let asked = query.flag("sendInitialEvents");
        let mut errors = Vec::new();
        if asked.is_some() && matching != "NotOlderThan" {
            let detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            errors.push(FieldError::forbidden("resourceVersionMatch", detail));
        }
        if asked.is_none() && !matching.is_empty() {
            let detail =
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.push(FieldError::forbidden("resourceVersionMatch", detail));
        }
        refuse(errors)?;
        let resource_version = parse_version(version)?;
        let bookmarks = query.is_true("allowWatchBookmarks");
        Ok(Self {
            labels: LabelSelector::parse(query.first("labelSelector"))?,
            fields: FieldSelector::parse(query.first("fieldSelector"), kind)?,
            resource_version,
            initial_events: asked.unwrap_or(resource_version == 0),
            initial_events_end: asked == Some(true) && bookmarks,
            bookmarks,
            timeout_s: number(query, "timeoutSeconds")?.filter(|n| *n > 0),
        })
    }
}

fn check_match(matching: &str, version: &str) -> Vec<FieldError> {
    let field = "resourceVersionMatch";
    match matching {
        "" => Vec::new(),
        _ if version.is_empty() => vec![FieldError::forbidden(
            field,
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        )],
        "NotOlderThan" => Vec::new(),
        "Exact" if version == "0" => vec![FieldError::forbidden(
            field,
            "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
        )],
        "Exact" => Vec::new(),
        other => vec![FieldError::not_supported(
            field,
            &json!(other),
            &["Exact", "NotOlderThan", ""],
        )],
    }
}

fn refuse(errors: Vec<FieldError>) -> Result<(), ApiError> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::Invalid {
        kind: GroupName::new("meta.k8s.io", "ListOptions"),
        name: String::new(),
        errors,
    })
}

/// # Errors
/// 400 for what is no decimal number.
pub(crate) fn parse_version(text: &str) -> Result<u64, ApiError> {
    if text.is_empty() {
        return Ok(0);
    }
    let bad = |_| {
        ApiError::BadRequest(format!(
            "resourceVersion: Invalid value: {text:?}: must be a number"
        ))
    };
    text.parse().map_err(bad)
}

fn number(query: &Query, key: &str) -> Result<Option<u64>, ApiError> {
    let text = query.first(key);
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<i64>() {
        Ok(number) => Ok(Some(u64::try_from(number).unwrap_or(0))),
        Err(_) => Err(ApiError::BadRequest(format!(
            "{key}: {text:?} is not a number"
        ))),
    }
}
