//! The other objects a pod is made of, and what of them it needs.

use k8s_openapi::api::core::v1::{ConfigMap, Container, PodSpec, Secret, Volume, VolumeProjection};
use std::collections::{BTreeMap, BTreeSet};

/// Objects fetched for one pod, by name in the pod's namespace; absent means the API has none. No `Debug`: it holds secrets.
#[derive(Clone, Default, PartialEq)]
pub struct Sources {
    pub config_maps: BTreeMap<String, ConfigMap>,
    pub secrets: BTreeMap<String, Secret>,
    pub tokens: BTreeMap<TokenRequest, String>,
}

/// A ServiceAccount token as a projected volume asks for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenRequest {
    /// `None` is the API server's own audience.
    pub audience: Option<String>,
    pub lifetime_seconds: i64,
}

/// One object that a pod refers to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceRef {
    ConfigMap(String),
    Secret(String),
    Token(TokenRequest),
}

/// Everything that environment and volumes of this pod read.
pub fn references(spec: &PodSpec) -> BTreeSet<SourceRef> {
    let containers = spec
        .init_containers
        .iter()
        .flatten()
        .chain(&spec.containers);
    let environment = containers.flat_map(of_container);
    environment
        .chain(spec.volumes.iter().flatten().flat_map(of_volume))
        .collect()
}

/// What its volumes alone read: the part that follows changes while the pod runs.
pub fn volume_references(spec: &PodSpec) -> BTreeSet<SourceRef> {
    spec.volumes.iter().flatten().flat_map(of_volume).collect()
}

fn of_container(container: &Container) -> Vec<SourceRef> {
    let mut found = Vec::new();
    for from in container.env_from.iter().flatten() {
        found.extend(
            from.config_map_ref
                .iter()
                .map(|source| SourceRef::ConfigMap(source.name.clone())),
        );
        found.extend(
            from.secret_ref
                .iter()
                .map(|source| SourceRef::Secret(source.name.clone())),
        );
    }
    for from in container
        .env
        .iter()
        .flatten()
        .filter_map(|variable| variable.value_from.as_ref())
    {
        found.extend(
            from.config_map_key_ref
                .iter()
                .map(|key| SourceRef::ConfigMap(key.name.clone())),
        );
        found.extend(
            from.secret_key_ref
                .iter()
                .map(|key| SourceRef::Secret(key.name.clone())),
        );
    }
    found
}

fn of_volume(volume: &Volume) -> Vec<SourceRef> {
    let mut found = Vec::new();
    found.extend(
        volume
            .config_map
            .iter()
            .map(|source| SourceRef::ConfigMap(source.name.clone())),
    );
    let secret = volume
        .secret
        .iter()
        .filter_map(|source| source.secret_name.clone());
    found.extend(secret.map(SourceRef::Secret));
    let projections = volume
        .projected
        .iter()
        .flat_map(|projected| projected.sources.iter().flatten());
    found.extend(projections.flat_map(of_projection));
    found
}

fn of_projection(projection: &VolumeProjection) -> Vec<SourceRef> {
    let mut found = Vec::new();
    found.extend(
        projection
            .config_map
            .iter()
            .map(|source| SourceRef::ConfigMap(source.name.clone())),
    );
    found.extend(
        projection
            .secret
            .iter()
            .map(|source| SourceRef::Secret(source.name.clone())),
    );
    let token = projection.service_account_token.iter();
    found.extend(token.map(|token| {
        SourceRef::Token(token_request(
            token.audience.as_deref(),
            token.expiration_seconds,
        ))
    }));
    found
}

pub(crate) fn token_request(audience: Option<&str>, lifetime_seconds: Option<i64>) -> TokenRequest {
    TokenRequest {
        audience: audience
            .filter(|audience| !audience.is_empty())
            .map(str::to_owned),
        lifetime_seconds: lifetime_seconds.unwrap_or(DEFAULT_TOKEN_SECONDS),
    }
}

/// The API's default for `expirationSeconds`.
const DEFAULT_TOKEN_SECONDS: i64 = 3600;
