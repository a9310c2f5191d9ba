//! A container's environment, and `$(VAR)` in its command line.

use crate::resources::{self, Milli};
use crate::sources::Sources;
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, Pod, Service};
use std::collections::BTreeMap;
use std::net::IpAddr;
use thiserror::Error;

/// What the downward API can answer.
pub struct Facts<'a> {
    pub pod: &'a Pod,
    pub node_name: &'a str,
    pub host_ips: &'a [IpAddr],
    pub pod_ips: &'a [IpAddr],
    /// Stands in for absent limits.
    pub allocatable_cpu: Milli,
    pub allocatable_memory: Milli,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum EnvironmentError {
    #[error("{kind} \"{name}\" not found")]
    NoObject { kind: &'static str, name: String },
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    NoKey {
        kind: &'static str,
        namespace: String,
        name: String,
        key: String,
    },
    #[error("environment variable {variable}: unsupported field {field}")]
    NoField { variable: String, field: String },
}

/// Variables in upstream's order of precedence (later wins): services, `envFrom`, `env`.
pub fn environment(
    container: &Container,
    facts: &Facts,
    sources: &Sources,
    services: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, EnvironmentError> {
    let mut variables = services.clone();
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or("");
        let mut add = |key: &str, value: String| variables.insert(format!("{prefix}{key}"), value);
        if let Some(reference) = &from.config_map_ref {
            match sources.config_maps.get(&reference.name) {
                Some(map) => map
                    .data
                    .iter()
                    .flatten()
                    .for_each(|(key, value)| drop(add(key, value.clone()))),
                None if reference.optional == Some(true) => {}
                None => return Err(no_object("configmap", &reference.name)),
            }
        }
        if let Some(reference) = &from.secret_ref {
            match sources.secrets.get(&reference.name) {
                Some(secret) => secret
                    .data
                    .iter()
                    .flatten()
                    .for_each(|(key, value)| drop(add(key, text(&value.0)))),
                None if reference.optional == Some(true) => {}
                None => return Err(no_object("secret", &reference.name)),
            }
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            None => Some(expand(variable.value.as_deref().unwrap_or(""), &variables)),
            Some(from) => from_source(variable, from, container, facts, sources)?,
        };
        variables.extend(value.map(|value| (variable.name.clone(), value)));
    }
    Ok(variables)
}

/// `$(NAME)` becomes its value, `$$` a dollar; an unknown name stays as written.
pub fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
            continue;
        }
        let reference = rest
            .strip_prefix('(')
            .and_then(|inner| inner.split_once(')'));
        match reference.and_then(|(name, after)| variables.get(name).map(|value| (value, after))) {
            Some((value, after)) => {
                expanded.push_str(value);
                rest = after;
            }
            None => expanded.push('$'),
        }
    }
    expanded + rest
}

/// `FOO_SERVICE_HOST` and its kin for the Services of the pod's namespace, and always those of `default/kubernetes`.
pub fn service_variables(
    services: &[&Service],
    namespace: &str,
    links: bool,
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for service in services {
        let own = links && service.metadata.namespace.as_deref() == Some(namespace);
        let name = service.metadata.name.as_deref().unwrap_or("");
        let kubernetes =
            name == "kubernetes" && service.metadata.namespace.as_deref() == Some("default");
        if own || kubernetes {
            variables.extend(of_service(name, service));
        }
    }
    variables
}

fn of_service(name: &str, service: &Service) -> Vec<(String, String)> {
    let Some(spec) = &service.spec else {
        return Vec::new();
    };
    let Some(ip) = spec
        .cluster_ip
        .as_deref()
        .filter(|ip| !ip.is_empty() && *ip != "None")
    else {
        return Vec::new();
    };
    let ports = spec.ports.as_deref().unwrap_or_default();
    let Some(first) = ports.first() else {
        return Vec::new();
    };
    let prefix = name.to_uppercase().replace('-', "_");
    let host = if ip.contains(':') {
        format!("[{ip}]")
    } else {
        ip.to_owned()
    };
    let url = |protocol: &str, port: i32| format!("{}://{host}:{port}", protocol.to_lowercase());
    let protocol = |protocol: &Option<String>| protocol.clone().unwrap_or_else(|| "TCP".into());
    let mut variables = vec![
        (format!("{prefix}_SERVICE_HOST"), ip.to_owned()),
        (format!("{prefix}_SERVICE_PORT"), first.port.to_string()),
        (
            format!("{prefix}_PORT"),
            url(&protocol(&first.protocol), first.port),
        ),
    ];
    for port in ports {
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            let name = name.to_uppercase().replace('-', "_");
            variables.push((
                format!("{prefix}_SERVICE_PORT_{name}"),
                port.port.to_string(),
            ));
        }
        let protocol = protocol(&port.protocol);
        let stem = format!("{prefix}_PORT_{}_{protocol}", port.port);
        variables.push((stem.clone(), url(&protocol, port.port)));
        variables.push((format!("{stem}_PROTO"), protocol.to_lowercase()));
        variables.push((format!("{stem}_PORT"), port.port.to_string()));
        variables.push((format!("{stem}_ADDR"), ip.to_owned()));
    }
    variables
}

fn from_source(
    variable: &EnvVar,
    from: &EnvVarSource,
    container: &Container,
    facts: &Facts,
    sources: &Sources,
) -> Result<Option<String>, EnvironmentError> {
    let namespace = || facts.pod.metadata.namespace.clone().unwrap_or_default();
    let no_key = |kind, name: &str, key: &str| EnvironmentError::NoKey {
        kind,
        namespace: namespace(),
        name: name.into(),
        key: key.into(),
    };
    let no_field = |field: &str| EnvironmentError::NoField {
        variable: variable.name.clone(),
        field: field.into(),
    };
    if let Some(key) = &from.config_map_key_ref {
        let map = sources.config_maps.get(&key.name);
        let value = map.and_then(|map| map.data.as_ref()?.get(&key.key).cloned());
        return match value {
            None if key.optional != Some(true) && map.is_none() => {
                Err(no_object("configmap", &key.name))
            }
            None if key.optional != Some(true) => Err(no_key("ConfigMap", &key.name, &key.key)),
            value => Ok(value),
        };
    }
    if let Some(key) = &from.secret_key_ref {
        let secret = sources.secrets.get(&key.name);
        let value = secret
            .and_then(|secret| secret.data.as_ref()?.get(&key.key))
            .map(|value| text(&value.0));
        return match value {
            None if key.optional != Some(true) && secret.is_none() => {
                Err(no_object("secret", &key.name))
            }
            None if key.optional != Some(true) => Err(no_key("Secret", &key.name, &key.key)),
            value => Ok(value),
        };
    }
    if let Some(reference) = &from.field_ref {
        return field(&reference.field_path, facts)
            .map(Some)
            .ok_or_else(|| no_field(&reference.field_path));
    }
    if let Some(reference) = &from.resource_field_ref {
        let divisor = reference
            .divisor
            .as_ref()
            .and_then(|divisor| resources::milli(&divisor.0));
        let value = resource_field(&reference.resource, divisor, container, facts);
        return value.map(Some).ok_or_else(|| no_field(&reference.resource));
    }
    Err(no_field("(none)"))
}

/// A downward API field path (`metadata.labels['x']`, `status.podIP`, …).
pub fn field(path: &str, facts: &Facts) -> Option<String> {
    let meta = &facts.pod.metadata;
    let spec = facts.pod.spec.as_ref();
    let joined = |ips: &[IpAddr]| {
        ips.iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(",")
    };
    if let Some((list, key)) = path
        .strip_suffix("']")
        .and_then(|path| path.split_once("['"))
    {
        let map = match list {
            "metadata.labels" => &meta.labels,
            "metadata.annotations" => &meta.annotations,
            _ => return None,
        };
        return Some(
            map.as_ref()
                .and_then(|map| map.get(key))
                .cloned()
                .unwrap_or_default(),
        );
    }
    match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        "metadata.labels" => Some(lines(meta.labels.as_ref())),
        "metadata.annotations" => Some(lines(meta.annotations.as_ref())),
        "spec.nodeName" => Some(facts.node_name.into()),
        "spec.serviceAccountName" => Some(spec?.service_account_name.clone().unwrap_or_default()),
        "status.hostIP" => Some(
            facts
                .host_ips
                .first()
                .map(ToString::to_string)
                .unwrap_or_default(),
        ),
        "status.hostIPs" => Some(joined(facts.host_ips)),
        "status.podIP" => Some(
            facts
                .pod_ips
                .first()
                .map(ToString::to_string)
                .unwrap_or_default(),
        ),
        "status.podIPs" => Some(joined(facts.pod_ips)),
        _ => None,
    }
}

/// `limits.cpu` and its kin, rounded up to the divisor.
pub(crate) fn resource_field(
    resource: &str,
    divisor: Option<Milli>,
    container: &Container,
    facts: &Facts,
) -> Option<String> {
    let (list, name) = resource.split_once('.')?;
    let needs = container.resources.as_ref();
    let map = match list {
        "limits" => needs.and_then(|needs| needs.limits.as_ref()),
        "requests" => needs.and_then(|needs| needs.requests.as_ref()),
        _ => return None,
    };
    let stated = map
        .and_then(|map| map.get(name))
        .and_then(|quantity| resources::milli(&quantity.0));
    let value = match (stated, list, name) {
        (Some(value), _, _) => value,
        (None, "limits", "cpu") => facts.allocatable_cpu,
        (None, "limits", "memory") => facts.allocatable_memory,
        _ => 0,
    };
    let divisor = divisor.filter(|divisor| *divisor > 0).unwrap_or(1000);
    Some(((value + divisor - 1) / divisor).to_string())
}

fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines = map
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={value:?}"));
    lines.collect::<Vec<_>>().join("\n")
}

fn no_object(kind: &'static str, name: &str) -> EnvironmentError {
    EnvironmentError::NoObject {
        kind,
        name: name.into(),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
