//! One Service with its endpoints: what its names answer.

use crate::record::{Answer, Data, Kind, Question, Record, Soa};
use crate::source::{Port, ServiceSource, SliceSource};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Everything below a Service's name. Rebuilt whole from its Service and slices, compared by content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    /// The Service's own name, canonical.
    name: String,
    body: Body,
    /// Ready endpoints by their labels.
    hosts: BTreeMap<String, Host>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Body {
    Alias(String),
    Addressed {
        ips: Addresses,
        ports: BTreeSet<Port>,
    },
    /// All of the endpoints' addresses.
    Headless {
        ips: Addresses,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Host {
    ips: Addresses,
    ports: BTreeSet<Port>,
}

impl Unit {
    /// `None` for a Service without any name: a headless one without ready endpoints (specification 2.4.1), an external
    /// one whose name is none.
    pub(crate) fn build<'a>(
        name: String,
        service: &ServiceSource,
        slices: impl Iterator<Item = &'a SliceSource>,
    ) -> Option<Self> {
        let unready_too = match service {
            ServiceSource::Alias(target) => {
                return is_host_name(target).then(|| Unit {
                    name,
                    body: Body::Alias(target.clone()),
                    hosts: BTreeMap::new(),
                });
            }
            ServiceSource::Addressed { unready_too, .. }
            | ServiceSource::Headless { unready_too } => *unready_too,
        };
        let mut gathered: BTreeMap<&str, (BTreeSet<IpAddr>, BTreeSet<Port>)> = BTreeMap::new();
        for slice in slices {
            for endpoint in &slice.endpoints {
                if endpoint.is_ready || unready_too {
                    let (ips, ports) = gathered.entry(&endpoint.label).or_default();
                    ips.insert(endpoint.ip);
                    ports.extend(slice.ports.iter().cloned());
                }
            }
        }
        let body = match service {
            ServiceSource::Addressed { ips, ports, .. } => Body::Addressed {
                ips: ips.iter().copied().collect(),
                ports: ports.clone(),
            },
            _ if gathered.is_empty() => return None,
            _ => Body::Headless {
                ips: gathered
                    .values()
                    .flat_map(|(ips, _)| ips)
                    .copied()
                    .collect(),
            },
        };
        let hosts = gathered.into_iter().map(|(label, (ips, ports))| {
            let ips = ips.into_iter().collect();
            (label.to_owned(), Host { ips, ports })
        });
        Some(Unit {
            name,
            body,
            hosts: hosts.collect(),
        })
    }

    /// The Service's own addresses; none of a headless or external one.
    pub(crate) fn cluster_ips(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let ips = match &self.body {
            Body::Addressed { ips, .. } => Some(ips),
            Body::Alias(_) | Body::Headless { .. } => None,
        };
        ips.into_iter().flat_map(Addresses::all)
    }

    /// What its addresses are called.
    pub(crate) fn reverse_names(&self) -> BTreeSet<ReverseEntry> {
        let own = self.cluster_ips().map(|ip| ReverseEntry {
            ip,
            claim: Claim::Service(self.name.clone()),
        });
        let hosts = self.hosts.iter().flat_map(|(label, host)| {
            host.ips.all().map(move |ip| ReverseEntry {
                ip,
                claim: Claim::Endpoint(format!("{label}.{}", self.name)),
            })
        });
        own.chain(hosts).collect()
    }

    /// Answers for `labels`, which stand before the Service's name; the one next to it comes first.
    pub(crate) fn answer<'l>(
        &self,
        labels: impl Iterator<Item = &'l str>,
        question: &Question<'_>,
        soa: impl FnOnce() -> Soa,
    ) -> Answer {
        let labels: Vec<&str> = labels.take(MOST_LABELS + 1).collect();
        let found = match (labels.as_slice(), &self.body) {
            ([], Body::Alias(target)) => {
                return match question.kind {
                    Kind::Cname => Answer::of(vec![Data::Cname(target.clone())]),
                    _ => Answer::Alias(target.clone()),
                };
            }
            ([], Body::Addressed { ips, .. } | Body::Headless { ips }) => {
                Some(match question.kind {
                    Kind::Srv => self.services(None, question),
                    _ => Answer::of(ips.records(question)),
                })
            }
            ([label], _) => match self.hosts.get(*label) {
                Some(host) => Some(Answer::of(host.ips.records(question))),
                None => self.has_protocol(label).then(|| Answer::of(Vec::new())),
            },
            ([protocol, port], _) => self.port(port, protocol, question),
            _ => None,
        };
        match found {
            None => Answer::NoName(soa()),
            Some(Answer::Found { data, .. }) if data.is_empty() => Answer::NoData(soa()),
            Some(found) => found,
        }
    }

    /// `_port._protocol` in front of the name.
    fn port(&self, port: &str, protocol: &str, question: &Question<'_>) -> Option<Answer> {
        let wanted = Wanted {
            name: port.strip_prefix('_').filter(|name| !name.is_empty())?,
            protocol: protocol.strip_prefix('_')?,
        };
        if !self.ports().any(|known| wanted.is(known)) {
            return None;
        }
        Some(match question.kind {
            Kind::Srv => self.services(Some(&wanted), question),
            _ => Answer::of(Vec::new()),
        })
    }

    /// `_tcp` has names below it when a named port has that protocol, so it exists (RFC 8020).
    fn has_protocol(&self, label: &str) -> bool {
        label.strip_prefix('_').is_some_and(|protocol| {
            self.ports()
                .any(|port| port.protocol == protocol && !port.name.is_empty())
        })
    }

    /// The ports that have SRV records.
    fn ports(&self) -> impl Iterator<Item = &Port> {
        let (own, theirs) = match &self.body {
            Body::Alias(_) => (None, None),
            Body::Addressed { ports, .. } => (Some(ports), None),
            Body::Headless { .. } => (None, Some(self.hosts.values())),
        };
        let theirs = theirs.into_iter().flatten().flat_map(|host| &host.ports);
        own.into_iter().flatten().chain(theirs)
    }

    /// SRV records of the port, or of every port for the Service's own name (which CoreDNS answers too).
    fn services(&self, wanted: Option<&Wanted<'_>>, question: &Question<'_>) -> Answer {
        let mut data = Vec::new();
        let mut additional = Vec::new();
        let mut add = |target: &str, ips: &Addresses, ports: &BTreeSet<Port>| {
            let ports = ports
                .iter()
                .filter(|port| wanted.is_none_or(|wanted| wanted.is(port)));
            // One number for two protocols is one record.
            let numbers: BTreeSet<u16> = ports.map(|port| port.number).collect();
            let room = question.most_records.saturating_sub(data.len());
            if numbers.is_empty() || room == 0 {
                return;
            }
            data.extend(numbers.into_iter().take(room).map(|port| Data::Srv {
                priority: 0,
                weight: WEIGHT,
                port,
                target: target.to_owned(),
            }));
            additional.extend(ips.all().map(|ip| Record {
                name: target.to_owned(),
                data: Data::address(ip),
            }));
        };
        match &self.body {
            Body::Alias(_) => {}
            Body::Addressed { ips, ports } => add(&self.name, ips, ports),
            Body::Headless { .. } => {
                for (label, host) in &self.hosts {
                    add(&format!("{label}.{}", self.name), &host.ips, &host.ports);
                }
            }
        }
        Answer::Found { data, additional }
    }
}

/// Addresses by family, each once, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Addresses {
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
}

impl Addresses {
    fn all(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let v4 = self.v4.iter().copied().map(IpAddr::V4);
        v4.chain(self.v6.iter().copied().map(IpAddr::V6))
    }

    fn records(&self, question: &Question<'_>) -> Vec<Data> {
        match question.kind {
            Kind::A => rotated(&self.v4, question, Data::A),
            Kind::Aaaa => rotated(&self.v6, question, Data::Aaaa),
            _ => Vec::new(),
        }
    }
}

impl FromIterator<IpAddr> for Addresses {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(ips: I) -> Self {
        let sorted: BTreeSet<IpAddr> = ips.into_iter().collect();
        let mut addresses = Addresses::default();
        for ip in sorted {
            match ip {
                IpAddr::V4(ip) => addresses.v4.push(ip),
                IpAddr::V6(ip) => addresses.v6.push(ip),
            }
        }
        addresses
    }
}

fn rotated<T: Copy>(all: &[T], question: &Question<'_>, data: fn(T) -> Data) -> Vec<Data> {
    if all.is_empty() {
        return Vec::new();
    }
    let (front, back) = all.split_at(question.rotation % all.len());
    let chosen = back.iter().chain(front).take(question.most_records);
    chosen.copied().map(data).collect()
}

/// The port that a name begins with.
struct Wanted<'a> {
    name: &'a str,
    protocol: &'a str,
}

impl Wanted<'_> {
    fn is(&self, port: &Port) -> bool {
        port.name == self.name && port.protocol == self.protocol
    }
}

/// A name that an address has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ReverseEntry {
    pub ip: IpAddr,
    pub claim: Claim,
}

/// A Service's address is called by the Service alone, whatever endpoints share it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Claim {
    Service(String),
    Endpoint(String),
}

impl Claim {
    pub(crate) fn name(&self) -> &String {
        match self {
            Claim::Service(name) | Claim::Endpoint(name) => name,
        }
    }
}

/// What an alias may lead to: a name with a letter in it, for an address is none (CoreDNS leaves those out as well).
fn is_host_name(target: &str) -> bool {
    !target.is_empty() && target.parse::<IpAddr>().is_err()
}

/// Nobody's preference.
const WEIGHT: u16 = 100;
/// `_port._protocol` is the longest that stands before a Service's name.
const MOST_LABELS: usize = 2;
