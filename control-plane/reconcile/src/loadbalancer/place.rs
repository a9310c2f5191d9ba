//! Which nodes serve a Service, and what of the others keeps them from it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Node, Pod, Service};

use super::claim::Port;
use super::{Observed, PORT_IN_USE, Refusal, Verdict};
use crate::pod;

/// What a node says of its ports: JSON, `80/TCP` → who has it, empty when load balancers can have it.
const HOST_PORTS: &str = "portcullis.dev/host-ports";

/// What a node is to a Service.
enum Fitness {
    Holds,
    /// It has not looked at all of the ports yet.
    Unasked,
    Lacks {
        port: Port,
        holder: String,
    },
}

pub(super) fn choose(observed: &Observed<'_>, ports: &BTreeSet<Port>) -> Verdict {
    let mut able = Vec::new();
    let mut unasked = false;
    let mut lacks = Vec::new();
    let mut reporting = observed
        .nodes
        .iter()
        .filter_map(|node| Some((&**node, report(node)?)));
    for (node, report) in &mut reporting {
        match fitness(node, &report, ports, observed) {
            Fitness::Holds => able.push(node),
            Fitness::Unasked => unasked = true,
            Fitness::Lacks { port, holder } => lacks.push(format!(
                "port {port} is in use on node {} by {holder}",
                name(node)
            )),
        }
    }
    // Most of what takes a node out of service passes, and an address that comes and goes with it helps nobody: as long as
    // another can do better it does, and otherwise the node keeps the Service.
    prefer(&mut able, is_ready);
    if is_local(observed.service) {
        prefer(&mut able, |node| has_endpoint(observed, node));
    }
    let addresses = addresses(observed.service, &able);
    if !addresses.is_empty() {
        return Verdict::Served(addresses);
    }
    if unasked {
        return Verdict::Waiting;
    }
    let refusal = |reason, message: String| Verdict::Refused(Refusal { reason, message });
    if !lacks.is_empty() {
        lacks.truncate(MOST_NAMED);
        return refusal(PORT_IN_USE, lacks.join("; "));
    }
    let wanted = wanted_ip(observed.service);
    match (able.is_empty(), wanted) {
        (false, Some(ip)) => refusal(
            "NoSuchAddress",
            format!("no node has the address {ip} that spec.loadBalancerIP asks for"),
        ),
        (false, None) => refusal(
            "NoSuchAddress",
            "no node has an address of the Service's families".to_owned(),
        ),
        (true, _) => refusal(
            "NoNode",
            "no node of this cluster serves load balancers".to_owned(),
        ),
    }
}

/// Keeps those only, if there are any.
fn prefer(nodes: &mut Vec<&Node>, better: impl Fn(&Node) -> bool) {
    if nodes.iter().any(|node| better(node)) {
        nodes.retain(|node| better(node));
    }
}

fn fitness(
    node: &Node,
    report: &BTreeMap<String, String>,
    ports: &BTreeSet<Port>,
    observed: &Observed<'_>,
) -> Fitness {
    let mut fitness = Fitness::Holds;
    for port in ports {
        let holder = match report.get(&port.to_string()) {
            None => {
                fitness = Fitness::Unasked;
                continue;
            }
            Some(holder) if holder.is_empty() => pod_with(port, node, observed),
            Some(holder) => Some(holder.clone()),
        };
        if let Some(holder) = holder {
            let port = port.clone();
            return Fitness::Lacks { port, holder };
        }
    }
    fitness
}

/// A pod whose `hostPort` this is: rules send it there, so no process has it.
fn pod_with(port: &Port, node: &Node, observed: &Observed<'_>) -> Option<String> {
    let has = |pod: &&Pod| {
        let on_node = pod::node_name(pod) == node.metadata.name.as_deref();
        let spec = pod
            .spec
            .as_ref()
            .filter(|_| on_node && !pod::is_terminal(pod));
        // Pods on the host's network have sockets, which the node sees.
        let spec = spec.filter(|spec| spec.host_network != Some(true));
        let containers = spec.into_iter().flat_map(|spec| &spec.containers);
        let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
        ports.any(|own| {
            let protocol = own.protocol.as_deref().unwrap_or("TCP");
            own.host_port == Some(port.number) && protocol == port.protocol
        })
    };
    let found = observed.pods.iter().map(AsRef::as_ref).find(has)?;
    let metadata = &found.metadata;
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    Some(format!(
        "the Pod {}/{}",
        part(&metadata.namespace),
        part(&metadata.name)
    ))
}

/// `None`: this node does not serve load balancers, or says nothing that can be read.
fn report(node: &Node) -> Option<BTreeMap<String, String>> {
    let annotations = node.metadata.annotations.as_ref()?;
    serde_json::from_str(annotations.get(HOST_PORTS)?).ok()
}

/// Of each family of the Service, outer addresses where a node has any, else inner ones.
fn addresses(service: &Service, nodes: &[&Node]) -> Vec<IpAddr> {
    let spec = service.spec.as_ref();
    let families = spec.and_then(|spec| spec.ip_families.clone());
    let families = families.unwrap_or_else(|| vec!["IPv4".to_owned()]);
    let wanted = wanted_ip(service);
    let mut found = Vec::new();
    for family in families {
        let ipv6 = family == "IPv6";
        let fits = |ip: &IpAddr| {
            ip.is_ipv6() == ipv6 && wanted.as_ref().is_none_or(|w| *w == ip.to_string())
        };
        for node in nodes {
            let of = |kind| -> Vec<IpAddr> { node_addresses(node, kind).filter(fits).collect() };
            let outer = of("ExternalIP");
            let chosen = if outer.is_empty() {
                of("InternalIP")
            } else {
                outer
            };
            found.extend(chosen.first());
        }
    }
    found
}

fn node_addresses<'a>(node: &'a Node, kind: &'a str) -> impl Iterator<Item = IpAddr> + 'a {
    let addresses = node
        .status
        .iter()
        .flat_map(|s| s.addresses.iter().flatten());
    let addresses = addresses.filter(move |address| address.type_ == kind);
    addresses.filter_map(|address| address.address.parse().ok())
}

/// The deprecated wish for one address.
fn wanted_ip(service: &Service) -> Option<String> {
    let wanted = service.spec.as_ref()?.load_balancer_ip.clone()?;
    (!wanted.is_empty()).then_some(wanted)
}

fn is_local(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.is_some_and(|spec| spec.external_traffic_policy.as_deref() == Some("Local"))
}

fn has_endpoint(observed: &Observed<'_>, node: &Node) -> bool {
    let service = observed.service.metadata.name.as_ref();
    let own = observed.slices.iter().filter(|slice| {
        let labels = slice.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(crate::endpointslice::SERVICE_NAME)) == service
    });
    let mut endpoints = own.flat_map(|slice| slice.endpoints.iter().flatten());
    endpoints.any(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        endpoint.node_name == node.metadata.name
            && conditions.is_none_or(|conditions| conditions.ready != Some(false))
    })
}

fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten());
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
    ready.any(|condition| condition.status == "True")
}

fn name(node: &Node) -> &str {
    node.metadata.name.as_deref().unwrap_or_default()
}

/// Nodes named in one message; more would say nothing new.
const MOST_NAMED: usize = 3;
