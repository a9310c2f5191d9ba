//! What a pod takes from a node: resources and host ports.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use crate::quantity::Quantity;

/// Amounts by resource name: `cpu` in thousandths of a core, everything else in units (bytes, pieces).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources(pub BTreeMap<String, i64>);

impl Resources {
    /// Reads a resource list. What does not parse was never admitted by an API server and counts as absent.
    pub fn parse(list: Option<&BTreeMap<String, Text>>) -> Self {
        let amounts = list.into_iter().flatten().filter_map(|(name, text)| {
            let quantity = Quantity::parse(&text.0).ok()?;
            Some((
                name.clone(),
                if name == CPU {
                    quantity.milli()
                } else {
                    quantity.units()
                },
            ))
        });
        Self(amounts.collect())
    }

    pub fn amount(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    pub fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let sum = self.0.entry(name.clone()).or_insert(0);
            *sum = sum.saturating_add(*amount);
        }
    }

    pub fn subtract(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let rest = self.0.entry(name.clone()).or_insert(0);
            *rest = rest.saturating_sub(*amount);
        }
        self.0.retain(|_, amount| *amount != 0);
    }

    fn raise_to(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let largest = self.0.entry(name.clone()).or_insert(0);
            *largest = (*largest).max(*amount);
        }
    }
}

/// A port on the node's own address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    pub port: i32,
    pub protocol: String,
    /// `0.0.0.0` for every address.
    pub address: String,
}

impl HostPort {
    /// The same port and protocol on overlapping addresses.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        let overlap = self.address == other.address
            || self.address == ANY_ADDRESS
            || other.address == ANY_ADDRESS;
        overlap && self.port == other.port && self.protocol == other.protocol
    }
}

/// What a placed pod takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    pub requests: Resources,
    /// For scoring: containers without requests count as a small one, so that they spread.
    pub scored_cpu_milli: i64,
    pub scored_memory: i64,
    pub ports: BTreeSet<HostPort>,
}

impl Footprint {
    pub fn of(pod: &Pod) -> Self {
        let Some(spec) = pod.spec.as_ref() else {
            return Self::default();
        };
        let requests = pod_requests(spec, |container| {
            Resources::parse(requests_of(container.resources.as_ref()))
        });
        let scored = pod_requests(spec, |container| {
            let mut requests = Resources::parse(requests_of(container.resources.as_ref()));
            requests
                .0
                .entry(CPU.to_owned())
                .or_insert(UNSTATED_CPU_MILLI);
            requests
                .0
                .entry(MEMORY.to_owned())
                .or_insert(UNSTATED_MEMORY);
            requests
        });
        Self {
            scored_cpu_milli: scored.amount(CPU),
            scored_memory: scored.amount(MEMORY),
            requests,
            ports: host_ports(spec),
        }
    }
}

/// The most the pod uses at any moment of its life: its containers together, or an init container beside the sidecars
/// started before it (KEP-753); plus the overhead of its runtime class. Pod-level requests (KEP-2837) replace the sum.
fn pod_requests(spec: &PodSpec, of: impl Fn(&Container) -> Resources) -> Resources {
    let mut total = Resources::default();
    for container in &spec.containers {
        total.add(&of(container));
    }
    let mut sidecars = Resources::default();
    let mut peak = Resources::default();
    for init in spec.init_containers.iter().flatten() {
        let mut moment = of(init);
        if init.restart_policy.as_deref() == Some("Always") {
            total.add(&moment);
            sidecars.add(&moment);
            moment = Resources::default();
        }
        moment.add(&sidecars);
        peak.raise_to(&moment);
    }
    total.raise_to(&peak);
    total
        .0
        .extend(Resources::parse(requests_of(spec.resources.as_ref())).0);
    total.add(&Resources::parse(spec.overhead.as_ref()));
    total
}

fn requests_of(requirements: Option<&ResourceRequirements>) -> Option<&BTreeMap<String, Text>> {
    requirements?.requests.as_ref()
}

fn host_ports(spec: &PodSpec) -> BTreeSet<HostPort> {
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|init| init.restart_policy.as_deref() == Some("Always"));
    let declared = spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| container.ports.iter().flatten());
    let used = declared.filter_map(|port| {
        let number = port.host_port.filter(|number| *number > 0)?;
        let address = port
            .host_ip
            .clone()
            .filter(|address| !address.is_empty() && address != "::");
        Some(HostPort {
            port: number,
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            address: address.unwrap_or_else(|| ANY_ADDRESS.to_owned()),
        })
    });
    used.collect()
}

pub(crate) const CPU: &str = "cpu";
pub(crate) const MEMORY: &str = "memory";
pub(crate) const PODS: &str = "pods";
const ANY_ADDRESS: &str = "0.0.0.0";
/// Upstream's `DefaultMilliCPURequest` and `DefaultMemoryRequest`.
const UNSTATED_CPU_MILLI: i64 = 100;
const UNSTATED_MEMORY: i64 = 200 * 1024 * 1024;
