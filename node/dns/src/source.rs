//! What the zone needs of an object; the rest is not kept.

use crate::name::{address_label, canonical};
use k8s_openapi::api::core::v1::{Namespace, Pod, Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The kinds that the zone is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    Namespace,
    Service,
    EndpointSlice,
    Pod,
}

/// Which object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    pub kind: ObjectKind,
    /// Empty for a Namespace.
    pub namespace: String,
    pub name: String,
}

/// An object, reduced to what names are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub(crate) key: ObjectRef,
    pub(crate) source: Source,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Namespace,
    Service(ServiceSource),
    Slice(SliceSource),
    /// Its addresses; none once it has ended or is about to.
    Pod(BTreeSet<IpAddr>),
}

/// A Service's own part of its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ServiceSource {
    Alias(String),
    Addressed {
        ips: BTreeSet<IpAddr>,
        ports: BTreeSet<Port>,
        unready_too: bool,
    },
    Headless {
        unready_too: bool,
    },
}

/// A port; its name may be empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Port {
    pub name: String,
    /// Lower case.
    pub protocol: String,
    pub number: u16,
}

/// An EndpointSlice's part of the names of its Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SliceSource {
    /// The Service's name; `None` for a slice that belongs to nobody.
    pub service: Option<String>,
    pub endpoints: Vec<EndpointSource>,
    pub ports: BTreeSet<Port>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EndpointSource {
    pub label: String,
    pub ip: IpAddr,
    pub is_ready: bool,
}

impl Object {
    pub fn namespace(namespace: &Namespace) -> Self {
        Self::new(
            ObjectKind::Namespace,
            &namespace.metadata,
            Source::Namespace,
        )
    }

    pub fn service(service: &Service) -> Self {
        let spec = service.spec.clone().unwrap_or_default();
        let source = ServiceSource::of(&service.metadata, &spec);
        Self::new(
            ObjectKind::Service,
            &service.metadata,
            Source::Service(source),
        )
    }

    pub fn endpoint_slice(slice: &EndpointSlice) -> Self {
        let source = Source::Slice(SliceSource::of(slice));
        Self::new(ObjectKind::EndpointSlice, &slice.metadata, source)
    }

    pub fn pod(pod: &Pod) -> Self {
        let status = pod.status.as_ref();
        // The address of a pod that has ended is another's soon.
        let phase = status.and_then(|status| status.phase.as_deref());
        let ends = pod.metadata.deletion_timestamp.is_some()
            || matches!(phase, Some("Succeeded" | "Failed"));
        let ips = status.filter(|_| !ends).into_iter().flat_map(|status| {
            let all = status.pod_ips.iter().flatten().map(|ip| &ip.ip);
            all.chain(&status.pod_ip)
        });
        let ips = ips.filter_map(|ip| ip.parse().ok()).collect();
        Self::new(ObjectKind::Pod, &pod.metadata, Source::Pod(ips))
    }

    pub fn key(&self) -> &ObjectRef {
        &self.key
    }

    fn new(kind: ObjectKind, metadata: &ObjectMeta, source: Source) -> Self {
        let key = ObjectRef {
            kind,
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
        };
        Object { key, source }
    }
}

impl ServiceSource {
    fn of(metadata: &ObjectMeta, spec: &ServiceSpec) -> Self {
        let unready_too = spec.publish_not_ready_addresses == Some(true)
            || annotation(metadata, TOLERATE_UNREADY) == Some("true");
        if spec.type_.as_deref() == Some("ExternalName") {
            return ServiceSource::Alias(canonical(spec.external_name.as_deref().unwrap_or("")));
        }
        let ips: BTreeSet<IpAddr> = spec
            .cluster_ips
            .iter()
            .flatten()
            .chain(&spec.cluster_ip)
            .filter_map(|ip| ip.parse().ok())
            .collect();
        if ips.is_empty() {
            return ServiceSource::Headless { unready_too };
        }
        let ports = spec.ports.iter().flatten();
        let ports = ports.filter_map(|port| {
            Port::of(
                port.name.as_deref(),
                port.protocol.as_deref(),
                Some(port.port),
            )
        });
        ServiceSource::Addressed {
            ips,
            ports: ports.collect(),
            unready_too,
        }
    }
}

impl SliceSource {
    fn of(slice: &EndpointSlice) -> Self {
        let labels = slice.metadata.labels.as_ref();
        let endpoints = slice.endpoints.iter().flatten();
        let ports = slice.ports.iter().flatten();
        let ports = ports
            .filter_map(|port| Port::of(port.name.as_deref(), port.protocol.as_deref(), port.port));
        SliceSource {
            service: labels.and_then(|labels| labels.get(SERVICE_LABEL).cloned()),
            // The other addresses of an endpoint are the same pod's, of the same family (upstream takes the first too).
            endpoints: endpoints.filter_map(EndpointSource::of).collect(),
            ports: ports.collect(),
        }
    }
}

impl EndpointSource {
    fn of(endpoint: &Endpoint) -> Option<Self> {
        let ip: IpAddr = endpoint.addresses.first()?.parse().ok()?;
        let ready = endpoint.conditions.as_ref().and_then(|all| all.ready);
        let hostname = endpoint.hostname.as_deref().filter(|name| is_label(name));
        Some(EndpointSource {
            label: hostname.map_or_else(|| address_label(ip), str::to_ascii_lowercase),
            ip,
            is_ready: ready != Some(false),
        })
    }
}

impl Port {
    fn of(name: Option<&str>, protocol: Option<&str>, number: Option<i32>) -> Option<Self> {
        Some(Port {
            name: name.unwrap_or("").to_ascii_lowercase(),
            protocol: protocol.unwrap_or("TCP").to_ascii_lowercase(),
            number: u16::try_from(number?).ok()?,
        })
    }
}

/// A hostname that were several labels, or too long, would make names that nobody can ask for.
fn is_label(hostname: &str) -> bool {
    let fits = (1..=63).contains(&hostname.len());
    fits && hostname
        .bytes()
        .all(|one| one.is_ascii_alphanumeric() || one == b'-')
}

fn annotation<'a>(metadata: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// What `publishNotReadyAddresses` was before it was a field; the specification still names it.
const TOLERATE_UNREADY: &str = "service.alpha.kubernetes.io/tolerate-unready-endpoints";
