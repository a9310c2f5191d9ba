//! One request for a resource, parsed and allowed.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use hyper::body::Incoming;
use jiff::Timestamp;
use portcullis_resource::codec::{self, Decoded, FieldValidation, MediaType};
use portcullis_resource::error::{ApiError, FieldError, GroupName};
use portcullis_resource::kind::{KindSpec, Subresource};
use portcullis_resource::prepare::{Allocated, WriteContext};
use portcullis_resource::request::{Query, ResourcePath, Verb};
use serde_json::{Value, json};

use crate::api::Api;
use crate::authn::User;
use crate::body;
use crate::metrics::Labels;
use crate::object;

pub(crate) struct Call {
    pub api: Arc<Api>,
    pub verb: Verb,
    pub path: ResourcePath,
    pub kind: &'static KindSpec,
    pub subresource: Option<Subresource>,
    pub query: Query,
    pub headers: HeaderMap,
    pub user: User,
    pub body: Option<Incoming>,
}

impl Call {
    pub(crate) fn labels(&self) -> Labels {
        Labels {
            verb: metric_verb(self.verb),
            group: self.kind.group,
            version: self.kind.version,
            resource: self.kind.plural,
            subresource: self.subresource.map_or("", Subresource::name),
        }
    }

    pub(crate) fn key(&self, name: &str) -> String {
        object::key(self.kind, self.namespace(), name)
    }

    /// Empty for cluster kinds. A Namespace's path names itself as its namespace.
    pub(crate) fn namespace(&self) -> &str {
        if self.kind.namespaced {
            &self.path.namespace
        } else {
            ""
        }
    }

    pub(crate) fn not_found(&self, name: &str) -> ApiError {
        ApiError::NotFound {
            resource: self.kind.resource(),
            name: name.to_owned(),
        }
    }

    /// `?dryRun=All`.
    ///
    /// # Errors
    /// 422 for any other value.
    pub(crate) fn dry_run(&self) -> Result<bool, ApiError> {
        match self.query.first("dryRun") {
            "" => Ok(false),
            "All" => Ok(true),
            other => Err(ApiError::Invalid {
                kind: GroupName::new("meta.k8s.io", "CreateOptions"),
                name: String::new(),
                errors: vec![FieldError::not_supported(
                    "dryRun",
                    &json!([other]),
                    &["All"],
                )],
            }),
        }
    }

    pub(crate) fn field_validation(&self) -> Result<FieldValidation, ApiError> {
        match self.query.first("fieldValidation") {
            "Strict" => Ok(FieldValidation::Strict),
            "" | "Warn" => Ok(FieldValidation::Warn),
            "Ignore" => Ok(FieldValidation::Ignore),
            other => Err(ApiError::Invalid {
                kind: GroupName::new("meta.k8s.io", "CreateOptions"),
                name: String::new(),
                errors: vec![FieldError::not_supported(
                    "fieldValidation",
                    &json!(other),
                    &["Ignore", "Strict", "Warn"],
                )],
            }),
        }
    }

    pub(crate) async fn bytes(&mut self) -> Result<Bytes, ApiError> {
        match self.body.take() {
            Some(body) => body::read(body).await,
            None => Ok(Bytes::new()),
        }
    }

    /// The body as an object of `root_type`.
    pub(crate) async fn decode(&mut self, root_type: &str) -> Result<Decoded, ApiError> {
        let media = media_type(content_type(&self.headers))?;
        let validation = self.field_validation()?;
        let bytes = self.bytes().await?;
        codec::decode(root_type, media, &bytes, validation)
    }

    /// As [`Call::decode`], `None` when there is no body.
    pub(crate) async fn decode_if_any(
        &mut self,
        root_type: &str,
    ) -> Result<Option<Value>, ApiError> {
        let bytes = self.bytes().await?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let media = media_type(content_type(&self.headers))?;
        Ok(Some(
            codec::decode(root_type, media, &bytes, FieldValidation::Ignore)?.object,
        ))
    }

    pub(crate) fn context<'a>(&'a self, name: &'a str) -> WriteContext<'a> {
        WriteContext {
            now: Timestamp::now(),
            uid: "",
            name_suffix: "",
            name,
            user: &self.user.name,
            default_ingress_class: None,
            allocated: Allocated::default(),
        }
    }
}

/// Content-Type without parameters; JSON where there is none.
pub(crate) fn content_type(headers: &HeaderMap) -> &str {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    match value.split(';').next().unwrap_or_default().trim() {
        "" => "application/json",
        media => media,
    }
}

fn media_type(content_type: &str) -> Result<MediaType, ApiError> {
    match content_type {
        "application/json" => Ok(MediaType::Json),
        "application/yaml" => Ok(MediaType::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(MediaType::Protobuf),
        _ => Err(ApiError::UnsupportedMediaType {
            message:
                "the body of the request was in an unknown format - accepted media types include: \
                      application/json, application/yaml, application/vnd.kubernetes.protobuf"
                    .to_owned(),
        }),
    }
}

const fn metric_verb(verb: Verb) -> &'static str {
    match verb {
        Verb::Get => "GET",
        Verb::List => "LIST",
        Verb::Watch => "WATCH",
        Verb::Create => "POST",
        Verb::Update => "PUT",
        Verb::Patch => "PATCH",
        Verb::Delete => "DELETE",
        Verb::DeleteCollection => "DELETECOLLECTION",
    }
}
