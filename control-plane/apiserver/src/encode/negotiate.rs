//! `Accept` (`endpoints/handlers/negotiation/negotiate.go`).

use http::HeaderMap;
use http::header::{ACCEPT, USER_AGENT};
use portcullis_resource::error::ApiError;
use portcullis_resource::request::{Query, Verb};
use portcullis_resource::table::IncludeObject;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json { pretty: bool },
    Yaml,
}

/// In what form an object is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    Object,
    /// `PartialObjectMetadata`, in lists `PartialObjectMetadataList`, at this version of `meta.k8s.io`.
    Partial(&'static str),
    Table(&'static str, IncludeObject),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Negotiated {
    pub format: Format,
    pub shape: Shape,
}

/// The first clause of `Accept` that can be served. Protobuf is not among what is served: clients that ask for it name
/// JSON behind it.
///
/// # Errors
/// 406 when there is none.
pub(crate) fn negotiate(
    headers: &HeaderMap,
    query: &Query,
    verb: Verb,
) -> Result<Negotiated, ApiError> {
    let pretty = wants_pretty(headers, query);
    for clause in clauses(headers) {
        let Some(format) = format(&clause, pretty) else {
            continue;
        };
        if clause.has_other_than(&["q", "charset", "as", "g", "v", "pretty"]) {
            continue;
        }
        if let Some(shape) = shape(&clause, query, verb)? {
            return Ok(Negotiated { format, shape });
        }
    }
    Err(ApiError::NotAcceptable {
        accepted: ["application/json", "application/yaml"]
            .map(str::to_owned)
            .to_vec(),
    })
}

/// The version of `apidiscovery.k8s.io` that a client wants discovery in, if it wants it in one document.
pub(crate) fn discovery_version(headers: &HeaderMap) -> Option<&'static str> {
    for clause in clauses(headers) {
        if format(&clause, false).is_none() {
            continue;
        }
        match (
            clause.parameter("as"),
            clause.parameter("g"),
            clause.parameter("v"),
        ) {
            (None, _, _) => return None,
            (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some("v2")) => {
                return Some("v2");
            }
            (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some("v2beta1")) => {
                return Some("v2beta1");
            }
            _ => {}
        }
    }
    None
}

fn shape(clause: &Clause<'_>, query: &Query, verb: Verb) -> Result<Option<Shape>, ApiError> {
    let Some(wanted) = clause.parameter("as") else {
        return Ok(Some(Shape::Object));
    };
    let version = match (clause.parameter("g"), clause.parameter("v")) {
        (Some("meta.k8s.io"), Some("v1")) => "v1",
        (Some("meta.k8s.io"), Some("v1beta1")) => "v1beta1",
        _ => return Ok(None),
    };
    let list = verb == Verb::List;
    Ok(match wanted {
        "Table" => {
            let text = query.first("includeObject");
            let include = IncludeObject::parse(text).ok_or_else(|| {
                ApiError::BadRequest(format!("unrecognized includeObject value: {text:?}"))
            })?;
            Some(Shape::Table(version, include))
        }
        "PartialObjectMetadata" if !list => Some(Shape::Partial(version)),
        "PartialObjectMetadataList" if list => Some(Shape::Partial(version)),
        _ => None,
    })
}

fn format(clause: &Clause<'_>, pretty: bool) -> Option<Format> {
    match clause.media {
        "application/json" | "application/*" | "*/*" => Some(Format::Json { pretty }),
        "application/yaml" => Some(Format::Yaml),
        _ => None,
    }
}

fn wants_pretty(headers: &HeaderMap, query: &Query) -> bool {
    if let Some(asked) = query.flag("pretty") {
        return asked;
    }
    let agent = headers
        .get(USER_AGENT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"]
        .iter()
        .any(|person| agent.starts_with(person))
}

struct Clause<'a> {
    media: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl Clause<'_> {
    fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(key, _)| *key == name);
        found
            .map(|(_, value)| *value)
            .filter(|value| !value.is_empty())
    }

    fn has_other_than(&self, known: &[&str]) -> bool {
        self.parameters.iter().any(|(key, _)| !known.contains(key))
    }

    fn quality(&self) -> f32 {
        self.parameter("q")
            .and_then(|q| q.parse().ok())
            .unwrap_or(1.0)
    }
}

/// In order of preference; without a header, anything.
fn clauses(headers: &HeaderMap) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            Clause {
                media: parts.next().unwrap_or_default(),
                parameters: parts.filter_map(|p| p.split_once('=')).collect(),
            }
        })
        .filter(|clause| !clause.media.is_empty())
        .collect();
    if clauses.is_empty() {
        clauses.push(Clause {
            media: "*/*",
            parameters: Vec::new(),
        });
    }
    clauses.sort_by(|a, b| b.quality().total_cmp(&a.quality()));
    clauses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(accept: &str, verb: Verb) -> Result<Negotiated, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().expect("a header"));
        negotiate(&headers, &Query::default(), verb)
    }

    const JSON: Format = Format::Json { pretty: false };

    #[test]
    fn kubectl_gets_tables_and_typed_clients_json() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,\
                       application/json";
        let table = ask(kubectl, Verb::List).expect("is served");
        assert_eq!(table.shape, Shape::Table("v1", IncludeObject::Metadata));
        let typed = ask(
            "application/vnd.kubernetes.protobuf,application/json",
            Verb::Get,
        )
        .expect("is served");
        assert_eq!((typed.format, typed.shape), (JSON, Shape::Object));
    }

    #[test]
    fn metadata_clients_get_metadata_in_lists_and_watches() {
        let one = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,\
                   application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
        assert_eq!(
            ask(one, Verb::Watch).expect("is served").shape,
            Shape::Partial("v1")
        );
        let list = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        assert_eq!(
            ask(list, Verb::List).expect("is served").shape,
            Shape::Partial("v1")
        );
        assert_eq!(ask(list, Verb::Get).expect_err("is no list").code(), 406);
    }

    #[test]
    fn what_cannot_be_served_is_refused() {
        for accept in [
            "application/vnd.kubernetes.protobuf",
            "text/html",
            "application/json;as=Chart;g=meta.k8s.io;v=v1",
        ] {
            assert_eq!(ask(accept, Verb::Get).expect_err(accept).code(), 406);
        }
        assert_eq!(ask("*/*", Verb::Get).expect("is served").format, JSON);
        assert_eq!(
            ask("application/yaml", Verb::Get)
                .expect("is served")
                .format,
            Format::Yaml
        );
    }
}
