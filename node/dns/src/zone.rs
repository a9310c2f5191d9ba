//! What is published: every name of the cluster, looked up per question.

use crate::name::{ReverseName, below, canonical, labelled_address};
use crate::range::Range;
use crate::record::{Answer, Data, Kind, Question, Soa};
use crate::shards::Shards;
use crate::unit::{Claim, Unit};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// The cluster's zone and the reverse zones of its addresses at one moment. Copies share what did not change.
#[derive(Debug, Clone)]
pub struct Zone {
    /// Canonical, such as `cluster.local`.
    domain: String,
    ranges: Vec<Range>,
    serial: u32,
    /// By `name.namespace`.
    pub(crate) units: Shards<String, Arc<Unit>>,
    /// What addresses are called.
    pub(crate) reverse: Shards<IpAddr, BTreeSet<Claim>>,
    pub(crate) namespaces: Shards<String, ()>,
    /// By namespace and address; the value is how many pods have it (on the host's network, several).
    pub(crate) pods: Shards<(String, IpAddr), u32>,
}

impl Zone {
    /// An empty zone for `domain`, with authority over the reverse names of `ranges`.
    pub fn new(domain: &str, ranges: Vec<Range>) -> Self {
        Zone {
            domain: canonical(domain),
            ranges,
            serial: 0,
            units: Shards::default(),
            reverse: Shards::default(),
            namespaces: Shards::default(),
            pods: Shards::default(),
        }
    }

    /// Canonical, such as `cluster.local`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The number that says how new it is; by custom the seconds since 1970.
    pub fn set_serial(&mut self, serial: u32) {
        self.serial = serial;
    }

    /// How many Services have names.
    pub fn services(&self) -> usize {
        self.units.len()
    }

    /// Answers one question.
    pub fn answer(&self, question: &Question<'_>) -> Answer {
        let name = canonical(question.name);
        if let Some(front) = below(&name, &self.domain) {
            return self.forward(front, question);
        }
        match ReverseName::parse(&name) {
            Some(name) => self.backward(&name, question),
            None => Answer::NotOurs,
        }
    }

    /// Of a name in the cluster's own domain, `front` being what stands before it.
    fn forward(&self, front: &str, question: &Question<'_>) -> Answer {
        let mut labels = front.rsplit('.');
        let first = labels.next().unwrap_or_default();
        match first {
            "" if front.is_empty() => self.apex(&self.domain, question.kind),
            "dns" => self.name_server(labels, question),
            "dns-version" if labels.next().is_none() => match question.kind {
                Kind::Txt => Answer::of(vec![Data::Txt(SCHEMA.to_owned())]),
                _ => self.no_data(),
            },
            "svc" => self.service(labels, question),
            "pod" => self.pod(labels, question.kind),
            _ => self.no_name(),
        }
    }

    /// `<below>.<service>.<namespace>.svc.<domain>`.
    fn service<'l>(
        &self,
        mut labels: impl Iterator<Item = &'l str>,
        question: &Question<'_>,
    ) -> Answer {
        let Some(namespace) = labels.next() else {
            return self.no_data();
        };
        let Some(service) = labels.next() else {
            return self.namespace(namespace);
        };
        match self.units.get(&unit_key(namespace, service)) {
            Some(unit) => unit.answer(labels, question, || self.soa(&self.domain)),
            None => self.no_name(),
        }
    }

    /// `<address with dashes>.<namespace>.pod.<domain>`: exists while a pod of that namespace has that address.
    fn pod<'l>(&self, mut labels: impl Iterator<Item = &'l str>, kind: Kind) -> Answer {
        let Some(namespace) = labels.next() else {
            return self.no_data();
        };
        let Some(label) = labels.next() else {
            return self.namespace(namespace);
        };
        let ip = labelled_address(label).filter(|_| labels.next().is_none());
        let known = |ip: &IpAddr| self.pods.get(&(namespace.to_owned(), *ip)).is_some();
        match (ip.filter(known), kind) {
            (None, _) => self.no_name(),
            (Some(IpAddr::V4(ip)), Kind::A) => Answer::of(vec![Data::A(ip)]),
            (Some(IpAddr::V6(ip)), Kind::Aaaa) => Answer::of(vec![Data::Aaaa(ip)]),
            (Some(_), _) => self.no_data(),
        }
    }

    fn namespace(&self, namespace: &str) -> Answer {
        match self.namespaces.get(namespace) {
            Some(()) => self.no_data(),
            None => self.no_name(),
        }
    }

    /// The zone's server is called `ns.dns.<domain>`, at the address of the Service that leads here.
    fn name_server<'l>(
        &self,
        mut labels: impl Iterator<Item = &'l str>,
        question: &Question<'_>,
    ) -> Answer {
        match (labels.next(), labels.next()) {
            (None, _) => self.no_data(),
            (Some("ns"), None) => {
                let (namespace, service) = DNS_SERVICE;
                match (self.units.get(&unit_key(namespace, service)), question.kind) {
                    (Some(unit), Kind::A | Kind::Aaaa) => {
                        unit.answer(std::iter::empty(), question, || self.soa(&self.domain))
                    }
                    _ => self.no_data(),
                }
            }
            _ => self.no_name(),
        }
    }

    /// Of a reverse name. What nobody is called by is ours to deny within our ranges only.
    fn backward(&self, name: &ReverseName, question: &Question<'_>) -> Answer {
        let apex = self.ranges.iter().find_map(|range| range.apex_above(name));
        let claims = name.address().and_then(|ip| self.reverse.get(&ip));
        let Some(claims) = claims else {
            return match apex {
                None => Answer::NotOurs,
                Some(apex) if apex == *name => self.apex(&apex.to_string(), question.kind),
                Some(apex) if name.address().is_some() => {
                    Answer::NoName(self.soa(&apex.to_string()))
                }
                Some(apex) => Answer::NoData(self.soa(&apex.to_string())),
            };
        };
        if question.kind != Kind::Ptr {
            let apex = apex.unwrap_or_else(|| name.clone());
            return Answer::NoData(self.soa(&apex.to_string()));
        }
        let is_service = |claim: &&Claim| matches!(claim, Claim::Service(_));
        let has_service = claims.iter().any(|claim| is_service(&claim));
        let names = claims
            .iter()
            .filter(|claim| !has_service || is_service(claim));
        let names = names.take(question.most_records).map(Claim::name);
        Answer::of(names.cloned().map(Data::Ptr).collect())
    }

    fn apex(&self, apex: &str, kind: Kind) -> Answer {
        match kind {
            Kind::Soa => Answer::of(vec![Data::Soa(self.soa(apex))]),
            Kind::Ns => Answer::of(vec![Data::Ns(self.primary())]),
            _ => Answer::NoData(self.soa(apex)),
        }
    }

    fn soa(&self, apex: &str) -> Soa {
        Soa {
            apex: apex.to_owned(),
            primary: self.primary(),
            mailbox: format!("hostmaster.{}", self.domain),
            serial: self.serial,
        }
    }

    fn primary(&self) -> String {
        format!("ns.dns.{}", self.domain)
    }

    fn no_data(&self) -> Answer {
        Answer::NoData(self.soa(&self.domain))
    }

    fn no_name(&self) -> Answer {
        Answer::NoName(self.soa(&self.domain))
    }
}

pub(crate) fn unit_key(namespace: &str, service: &str) -> String {
    format!("{service}.{namespace}")
}

const SCHEMA: &str = "1.1.0";
/// Tools look for it under this name, whatever program answers.
const DNS_SERVICE: (&str, &str) = ("kube-system", "kube-dns");
