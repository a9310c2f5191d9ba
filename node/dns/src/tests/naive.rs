//! The zone's naive twin: every name there is, written down from all objects at once.

use crate::name::{ReverseName, address_label};
use crate::source::{Object, Port, ServiceSource, SliceSource, Source};
use crate::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// All names of one moment; a name in between has no records.
pub struct Names {
    domain: String,
    ranges: Vec<Range>,
    names: BTreeMap<String, BTreeSet<Data>>,
}

/// What the twin says, in any order and without the authority's record.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    Records(BTreeSet<Data>),
    Alias(String),
    NoData,
    NoName,
    NotOurs,
}

impl From<Answer> for Said {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Found { data, .. } => Said::Records(data.into_iter().collect()),
            Answer::Alias(target) => Said::Alias(target),
            Answer::NoData(_) => Said::NoData,
            Answer::NoName(_) => Said::NoName,
            Answer::NotOurs => Said::NotOurs,
        }
    }
}

impl Names {
    pub fn of(domain: &str, ranges: Vec<Range>, objects: &[Object]) -> Self {
        let mut all = Names {
            domain: domain.to_owned(),
            ranges,
            names: BTreeMap::new(),
        };
        for name in ["svc", "pod", "ns.dns"] {
            all.exists(format!("{name}.{domain}"));
        }
        let version = Data::Txt("1.1.0".into());
        all.add(format!("dns-version.{domain}"), version);
        for object in objects {
            all.object(object, objects);
        }
        all
    }

    pub fn say(&self, name: &str, kind: Kind) -> Said {
        let apex = self.domain == name;
        if let Some(data) = self.names.get(name) {
            let alias = data.iter().find_map(|data| match data {
                Data::Cname(target) if kind != Kind::Cname => Some(target.clone()),
                _ => None,
            });
            let fitting: BTreeSet<_> = data
                .iter()
                .filter(|data| fits(data, kind))
                .cloned()
                .collect();
            return match alias {
                Some(target) => Said::Alias(target),
                None if fitting.is_empty() => Said::NoData,
                None => Said::Records(fitting),
            };
        }
        if apex || name.ends_with(&format!(".{}", self.domain)) {
            return if apex { Said::NoData } else { Said::NoName };
        }
        let Some(reverse) = ReverseName::parse(name) else {
            return Said::NotOurs;
        };
        let ours = self
            .ranges
            .iter()
            .any(|range| range.apex_above(&reverse).is_some());
        match (ours, reverse.address()) {
            (false, _) => Said::NotOurs,
            (true, None) => Said::NoData,
            (true, Some(_)) => Said::NoName,
        }
    }

    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.names.keys()
    }

    fn object(&mut self, object: &Object, all: &[Object]) {
        let (namespace, name) = (&object.key.namespace, &object.key.name);
        let domain = self.domain.clone();
        match &object.source {
            Source::Namespace => {
                self.exists(format!("{name}.svc.{domain}"));
                self.exists(format!("{name}.pod.{domain}"));
            }
            Source::Pod(ips) => {
                for ip in ips {
                    let label = address_label(*ip);
                    self.add(
                        format!("{label}.{namespace}.pod.{domain}"),
                        Data::address(*ip),
                    );
                }
            }
            Source::Service(service) => {
                let base = format!("{name}.{namespace}.svc.{domain}");
                let slices: Vec<&SliceSource> = all
                    .iter()
                    .filter(|other| other.key.namespace == *namespace)
                    .filter_map(|other| match &other.source {
                        Source::Slice(slice) if slice.service.as_ref() == Some(name) => Some(slice),
                        _ => None,
                    })
                    .collect();
                self.service(&base, service, &slices, all);
            }
            Source::Slice(_) => {}
        }
    }

    fn service(
        &mut self,
        base: &str,
        service: &ServiceSource,
        slices: &[&SliceSource],
        all: &[Object],
    ) {
        let unready_too = match service {
            ServiceSource::Alias(target) => {
                return self.add(base.to_owned(), Data::Cname(target.clone()));
            }
            ServiceSource::Addressed {
                ips,
                ports,
                unready_too,
            } => {
                for ip in ips {
                    self.add(base.to_owned(), Data::address(*ip));
                    self.add(reverse(*ip), Data::Ptr(base.to_owned()));
                }
                ports.iter().for_each(|port| self.port(base, port, base));
                *unready_too
            }
            ServiceSource::Headless { unready_too } => *unready_too,
        };
        let headless = matches!(service, ServiceSource::Headless { .. });
        for slice in slices {
            for endpoint in &slice.endpoints {
                if !endpoint.is_ready && !unready_too {
                    continue;
                }
                let own = format!("{}.{base}", endpoint.label);
                self.add(own.clone(), Data::address(endpoint.ip));
                if !is_cluster_ip(endpoint.ip, all) {
                    self.add(reverse(endpoint.ip), Data::Ptr(own.clone()));
                }
                if headless {
                    self.add(base.to_owned(), Data::address(endpoint.ip));
                    slice
                        .ports
                        .iter()
                        .for_each(|port| self.port(base, port, &own));
                }
            }
        }
    }

    fn port(&mut self, base: &str, port: &Port, target: &str) {
        let data = Data::Srv {
            priority: 0,
            weight: 100,
            port: port.number,
            target: target.to_owned(),
        };
        self.add(base.to_owned(), data.clone());
        if !port.name.is_empty() {
            self.add(format!("_{}._{}.{base}", port.name, port.protocol), data);
        }
    }

    fn add(&mut self, name: String, data: Data) {
        self.exists(name.clone());
        self.names.entry(name).or_default().insert(data);
    }

    /// With every name above it, up to the zone's.
    fn exists(&mut self, name: String) {
        let mut name = name.as_str();
        let below = format!(".{}", self.domain);
        while name.ends_with(&below) {
            self.names.entry(name.to_owned()).or_default();
            let Some((_, parent)) = name.split_once('.') else {
                return;
            };
            name = parent;
        }
    }
}

fn is_cluster_ip(ip: IpAddr, all: &[Object]) -> bool {
    all.iter().any(|object| match &object.source {
        Source::Service(ServiceSource::Addressed { ips, .. }) => ips.contains(&ip),
        _ => false,
    })
}

fn fits(data: &Data, kind: Kind) -> bool {
    match data {
        Data::A(_) => kind == Kind::A,
        Data::Aaaa(_) => kind == Kind::Aaaa,
        Data::Srv { .. } => kind == Kind::Srv,
        Data::Ptr(_) => kind == Kind::Ptr,
        Data::Txt(_) => kind == Kind::Txt,
        Data::Cname(_) => kind == Kind::Cname,
        Data::Ns(_) => kind == Kind::Ns,
        Data::Soa(_) => kind == Kind::Soa,
    }
}

fn reverse(ip: IpAddr) -> String {
    let text: Vec<String> = match ip {
        IpAddr::V4(ip) => ip.octets().iter().rev().map(ToString::to_string).collect(),
        IpAddr::V6(ip) => {
            let digits = format!("{:032x}", ip.to_bits());
            digits.chars().rev().map(String::from).collect()
        }
    };
    let suffix = if ip.is_ipv6() { "ip6" } else { "in-addr" };
    format!("{}.{suffix}.arpa", text.join("."))
}
