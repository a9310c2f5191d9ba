//! What a request asks for: verb and target out of method, path and query (`endpoints/request/requestinfo.go`).

mod list;
mod page;
mod query;

#[cfg(test)]
mod tests;

pub use list::{ListOptions, VersionMatch, WatchOptions};
pub use page::PageToken;
pub use query::Query;
pub(crate) use query::percent_decoded;

use crate::error::{ApiError, GroupName};

/// Verbs as authorization and metrics name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }

    /// Counted against the smaller limit of requests in flight.
    pub const fn is_mutating(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch)
    }
}

/// A parsed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestInfo {
    pub verb: Verb,
    pub target: Target,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `/healthz`, `/version`, `/api`, …: the path as it came.
    Path(String),
    Resource(ResourcePath),
}

/// The parts of `/apis/{group}/{version}[/namespaces/{namespace}]/{resource}[/{name}[/{subresource}]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResourcePath {
    /// Empty for the core group.
    pub group: String,
    pub version: String,
    /// Empty where the path has none: cluster kinds, and lists across namespaces.
    pub namespace: String,
    pub resource: String,
    /// Empty for collections. A list or watch of `metadata.name=x` carries `x`, for authorization.
    pub name: String,
    pub subresource: String,
}

impl RequestInfo {
    /// # Errors
    /// 405 for methods that mean nothing here, 400 for paths that cannot be decoded.
    pub fn parse(method: &str, path: &str, query: &Query) -> Result<Self, ApiError> {
        let Some(mut resource) = resource_path(path)? else {
            return Ok(Self {
                verb: if matches!(method, "GET" | "HEAD") {
                    Verb::Get
                } else {
                    Verb::Create
                },
                target: Target::Path(path.to_owned()),
            });
        };
        let verb = match method {
            "GET" | "HEAD" if !resource.name.is_empty() => Verb::Get,
            "GET" | "HEAD" if query.is_true("watch") => Verb::Watch,
            "GET" | "HEAD" => Verb::List,
            "POST" => Verb::Create,
            "PUT" => Verb::Update,
            "PATCH" => Verb::Patch,
            "DELETE" if resource.name.is_empty() => Verb::DeleteCollection,
            "DELETE" => Verb::Delete,
            other => {
                return Err(ApiError::MethodNotAllowed {
                    resource: GroupName::new(&resource.group, &resource.resource),
                    verb: other.to_owned(),
                });
            }
        };
        // Of a collection's deletion authorization hears no name: rules for single names do not grant it.
        if matches!(verb, Verb::List | Verb::Watch) {
            resource.name = named_by_selector(query.first("fieldSelector"));
        }
        Ok(Self {
            verb,
            target: Target::Resource(resource),
        })
    }
}

fn resource_path(path: &str) -> Result<Option<ResourcePath>, ApiError> {
    let mut segments = Vec::new();
    for segment in path.split('/').filter(|s| !s.is_empty()) {
        let text = query::decode(segment, false).ok_or_else(|| bad_segment(segment))?;
        if text.contains(['/', '\0']) || text == "." || text == ".." {
            return Err(bad_segment(segment));
        }
        segments.push(text);
    }
    let mut parts = segments.into_iter();
    let (group, version) = match (
        parts.next().as_deref(),
        parts.next(),
        parts.as_slice().len(),
    ) {
        (Some("api"), Some(version), 1..) => (String::new(), version),
        (Some("apis"), Some(group), 2..) => (group, parts.next().unwrap_or_default()),
        _ => return Ok(None),
    };
    let mut found = ResourcePath {
        group,
        version,
        ..ResourcePath::default()
    };
    let rest: Vec<String> = parts.collect();
    match rest.as_slice() {
        // A namespace's own subresources; everything else below a namespace is a resource in it.
        [first, name, sub]
            if first == "namespaces" && matches!(sub.as_str(), "status" | "finalize") =>
        {
            found.namespace.clone_from(name);
            found.resource.clone_from(first);
            found.name.clone_from(name);
            found.subresource.clone_from(sub);
        }
        [first, name] if first == "namespaces" => {
            found.namespace.clone_from(name);
            found.resource.clone_from(first);
            found.name.clone_from(name);
        }
        [first, namespace, tail @ ..] if first == "namespaces" => {
            found.namespace.clone_from(namespace);
            place(&mut found, tail);
        }
        tail => place(&mut found, tail),
    }
    Ok(Some(found))
}

fn place(found: &mut ResourcePath, tail: &[String]) {
    let mut tail = tail.iter();
    found.resource = tail.next().cloned().unwrap_or_default();
    found.name = tail.next().cloned().unwrap_or_default();
    let rest: Vec<&str> = tail.map(String::as_str).collect();
    found.subresource = rest.join("/");
}

fn named_by_selector(selector: &str) -> String {
    let name = selector
        .strip_prefix("metadata.name=")
        .map(|v| v.trim_start_matches('='));
    name.filter(|n| !n.contains([',', '=']))
        .unwrap_or_default()
        .to_owned()
}

fn bad_segment(segment: &str) -> ApiError {
    ApiError::BadRequest(format!("the path segment {segment:?} is not valid"))
}
