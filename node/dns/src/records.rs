//! Services and EndpointSlices → every name of the zone, built once per change and looked up per question.

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a question asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    A,
    Aaaa,
    Srv,
    Ptr,
    Txt,
    Cname,
}

/// One record's content. Names are lower case, absolute, without the final dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Data {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    /// RFC 2782.
    Srv {
        priority: u16,
        weight: u16,
        port: u16,
        target: String,
    },
    Ptr(String),
    Txt(String),
    Cname(String),
}

impl Data {
    fn kind(&self) -> Kind {
        match self {
            Data::A(_) => Kind::A,
            Data::Aaaa(_) => Kind::Aaaa,
            Data::Srv { .. } => Kind::Srv,
            Data::Ptr(_) => Kind::Ptr,
            Data::Txt(_) => Kind::Txt,
            Data::Cname(_) => Kind::Cname,
        }
    }

    fn address(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Data::A(ip),
            IpAddr::V6(ip) => Data::Aaaa(ip),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub name: String,
    pub data: Data,
}

/// The answer to one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// NOERROR with records; `additional` saves the client of an SRV answer its next question.
    Found {
        records: Vec<Record>,
        additional: Vec<Record>,
    },
    /// NOERROR without records: the name exists, with records of other kinds only (RFC 2308 section 2.2).
    NoData,
    /// NXDOMAIN: the name is in our zone and does not exist.
    NoName,
    /// Not in our zone: for a resolver further up.
    NotOurs,
}

/// Every name of the cluster's zone, and the reverse names of its addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    zone: String,
    /// Also holds the names between the zone and a record, with nothing in them: they exist (RFC 8020).
    names: BTreeMap<String, BTreeSet<Data>>,
}

impl Records {
    /// Builds the zone, such as `cluster.local`.
    pub fn new<'a>(
        zone: &str,
        services: impl IntoIterator<Item = &'a Service>,
        slices: impl IntoIterator<Item = &'a EndpointSlice>,
    ) -> Self {
        let mut records = Records {
            zone: canonical(zone),
            names: BTreeMap::new(),
        };
        records.add(
            format!("dns-version.{}", records.zone),
            Data::Txt(SCHEMA.into()),
        );
        records.exists(format!("svc.{}", records.zone));
        let mut by_service: BTreeMap<(&str, &str), Vec<&EndpointSlice>> = BTreeMap::new();
        for slice in slices {
            let name = slice
                .metadata
                .labels
                .as_ref()
                .and_then(|labels| labels.get(SERVICE_LABEL));
            if let (Some(namespace), Some(name)) = (slice.metadata.namespace.as_deref(), name) {
                by_service.entry((namespace, name)).or_default().push(slice);
            }
        }
        for service in services {
            let meta = &service.metadata;
            if let (Some(namespace), Some(name), Some(spec)) =
                (&meta.namespace, &meta.name, &service.spec)
            {
                let slices = by_service
                    .get(&(namespace.as_str(), name.as_str()))
                    .map(Vec::as_slice)
                    .unwrap_or_default();
                let base = format!("{name}.{namespace}.svc.{}", records.zone);
                records.service(&base, spec, slices);
            }
        }
        records
    }

    /// Answers one question; the name in any case, with or without the final dot.
    pub fn answer(&self, name: &str, kind: Kind) -> Answer {
        let name = canonical(name);
        let Some(found) = self.names.get(&name) else {
            let ours = name == self.zone
                || name
                    .strip_suffix(&self.zone)
                    .is_some_and(|front| front.ends_with('.'));
            return if ours {
                Answer::NoName
            } else {
                Answer::NotOurs
            };
        };
        let fits = |data: &&Data| data.kind() == kind || data.kind() == Kind::Cname;
        let records: Vec<_> = found
            .iter()
            .filter(fits)
            .map(|data| Record {
                name: name.clone(),
                data: data.clone(),
            })
            .collect();
        if records.is_empty() {
            return Answer::NoData;
        }
        let targets: BTreeSet<_> = records
            .iter()
            .filter_map(|record| match &record.data {
                Data::Srv { target, .. } => Some(target.clone()),
                _ => None,
            })
            .collect();
        let additional = targets
            .into_iter()
            .flat_map(|target| self.addresses(target))
            .collect();
        Answer::Found {
            records,
            additional,
        }
    }

    fn addresses(&self, name: String) -> Vec<Record> {
        let found = self.names.get(&name).into_iter().flatten();
        let addresses = found.filter(|data| matches!(data.kind(), Kind::A | Kind::Aaaa));
        addresses
            .map(|data| Record {
                name: name.clone(),
                data: data.clone(),
            })
            .collect()
    }

    fn service(&mut self, base: &str, spec: &ServiceSpec, slices: &[&EndpointSlice]) {
        if spec.type_.as_deref() == Some("ExternalName") {
            let target = spec
                .external_name
                .as_deref()
                .filter(|target| !target.is_empty());
            return target
                .into_iter()
                .for_each(|target| self.add(base.into(), Data::Cname(canonical(target))));
        }
        let ips: BTreeSet<IpAddr> = spec
            .cluster_ips
            .iter()
            .flatten()
            .chain(&spec.cluster_ip)
            .filter_map(|ip| ip.parse().ok())
            .collect();
        if ips.is_empty() {
            return self.headless(base, spec, slices);
        }
        for ip in ips {
            self.add(base.into(), Data::address(ip));
            self.add(reverse(ip), Data::Ptr(base.into()));
        }
        for port in spec.ports.iter().flatten() {
            self.port(
                base,
                port.name.as_deref(),
                port.protocol.as_deref(),
                port.port,
                base,
            );
        }
    }

    /// A headless Service answers with its ready endpoints, and exists even when it has none.
    fn headless(&mut self, base: &str, spec: &ServiceSpec, slices: &[&EndpointSlice]) {
        self.exists(base.into());
        let unready_too = spec.publish_not_ready_addresses == Some(true);
        for slice in slices.iter().filter(|slice| slice.address_type != "FQDN") {
            for endpoint in slice.endpoints.iter().flatten() {
                let ready = endpoint
                    .conditions
                    .as_ref()
                    .and_then(|conditions| conditions.ready)
                    != Some(false);
                let ip = endpoint
                    .addresses
                    .first()
                    .and_then(|ip| ip.parse::<IpAddr>().ok());
                let Some(ip) = ip.filter(|_| ready || unready_too) else {
                    continue;
                };
                let own = format!("{}.{base}", label(endpoint, ip));
                self.add(base.into(), Data::address(ip));
                self.add(own.clone(), Data::address(ip));
                if endpoint
                    .hostname
                    .as_deref()
                    .is_some_and(|hostname| !hostname.is_empty())
                {
                    self.add(reverse(ip), Data::Ptr(own.clone()));
                }
                for port in slice.ports.iter().flatten() {
                    if let Some(number) = port.port {
                        self.port(
                            base,
                            port.name.as_deref(),
                            port.protocol.as_deref(),
                            number,
                            &own,
                        );
                    }
                }
            }
        }
    }

    /// Only named ports have SRV records.
    fn port(
        &mut self,
        base: &str,
        name: Option<&str>,
        protocol: Option<&str>,
        port: i32,
        target: &str,
    ) {
        let (Some(name), Ok(port)) = (name.filter(|name| !name.is_empty()), u16::try_from(port))
        else {
            return;
        };
        let protocol = protocol.unwrap_or("TCP").to_ascii_lowercase();
        let data = Data::Srv {
            priority: 0,
            weight: 100,
            port,
            target: target.into(),
        };
        self.add(format!("_{name}._{protocol}.{base}"), data);
    }

    fn add(&mut self, name: String, data: Data) {
        let name = canonical(&name);
        self.exists(name.clone());
        self.names.entry(name).or_default().insert(data);
    }

    fn exists(&mut self, name: String) {
        let mut name = name.as_str();
        // Above the zone (and above a reverse name) nothing is ours.
        while name == self.zone || name.ends_with(&format!(".{}", self.zone)) {
            self.names.entry(name.to_owned()).or_default();
            let Some((_, parent)) = name.split_once('.') else {
                return;
            };
            name = parent;
        }
    }
}

/// An endpoint's own name: its hostname, or its address with dashes, as cluster DNS servers in use do.
fn label(endpoint: &Endpoint, ip: IpAddr) -> String {
    match endpoint
        .hostname
        .as_deref()
        .filter(|hostname| !hostname.is_empty())
    {
        Some(hostname) => hostname.to_owned(),
        None => ip.to_string().replace(['.', ':'], "-"),
    }
}

/// RFC 1035 section 3.5, RFC 3596 section 2.5.
fn reverse(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(ip) => {
            let nibbles = ip
                .octets()
                .into_iter()
                .flat_map(|byte| [byte >> 4, byte & 15])
                .rev();
            let mut name: String = nibbles.map(|nibble| format!("{nibble:x}.")).collect();
            name.push_str("ip6.arpa");
            name
        }
    }
}

fn canonical(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

const SERVICE_LABEL: &str = "kubernetes.io/service-name";
const SCHEMA: &str = "1.1.0";
/// What the cluster's servers answer with: short, since endpoints come and go.
pub const TTL_SECONDS: u32 = 5;
