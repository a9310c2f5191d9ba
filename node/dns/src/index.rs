//! Keeps the zone equal to the objects, one Service at a time.

use crate::source::{Object, ObjectKind, ObjectRef, ServiceSource, SliceSource, Source};
use crate::unit::{ReverseEntry, Unit};
use crate::zone::{Zone, unit_key};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

/// What a watch says.
#[derive(Debug, Clone)]
pub enum Change {
    /// A new object, or a new version of one.
    Put(Object),
    Delete(ObjectRef),
    /// All objects of a kind: others of it are gone.
    Relist {
        kind: ObjectKind,
        objects: Vec<Object>,
    },
}

/// The objects behind a zone.
#[derive(Debug)]
pub struct Index {
    zone: Zone,
    /// By namespace and Service name; also holds slices whose Service is not there (yet).
    services: HashMap<(String, String), Family>,
    /// Which Service a slice belonged to: it may have moved since.
    owners: HashMap<ObjectRef, String>,
    pods: HashMap<ObjectRef, BTreeSet<IpAddr>>,
    /// Every object there is.
    known: HashMap<ObjectKind, HashSet<ObjectRef>>,
}

/// A Service and its slices by name.
#[derive(Debug, Default)]
struct Family {
    service: Option<ServiceSource>,
    slices: BTreeMap<String, SliceSource>,
}

impl Index {
    pub fn new(zone: Zone) -> Self {
        Index {
            zone,
            services: HashMap::new(),
            owners: HashMap::new(),
            pods: HashMap::new(),
            known: HashMap::new(),
        }
    }

    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// `serial` numbers the zone that this change makes.
    pub fn apply(&mut self, change: Change, serial: u32) {
        let mut touched = BTreeSet::new();
        match change {
            Change::Put(object) => self.put(object, &mut touched),
            Change::Delete(key) => self.delete(&key, &mut touched),
            Change::Relist { kind, objects } => {
                let listed: HashSet<&ObjectRef> = objects.iter().map(Object::key).collect();
                let known = self.known.get(&kind).into_iter().flatten();
                let gone: Vec<_> = known.filter(|key| !listed.contains(key)).cloned().collect();
                gone.iter().for_each(|key| self.delete(key, &mut touched));
                objects
                    .into_iter()
                    .for_each(|object| self.put(object, &mut touched));
            }
        }
        for (namespace, name) in touched {
            self.rebuild(namespace, name);
        }
        self.zone.set_serial(serial);
    }

    fn put(&mut self, object: Object, touched: &mut BTreeSet<(String, String)>) {
        let Object { key, source } = object;
        self.known.entry(key.kind).or_default().insert(key.clone());
        match source {
            Source::Namespace => self.zone.namespaces.insert(key.name, ()),
            Source::Service(source) => {
                let service = (key.namespace, key.name);
                self.services.entry(service.clone()).or_default().service = Some(source);
                touched.insert(service);
            }
            Source::Slice(source) => {
                self.disown(&key, touched);
                let Some(service) = source.service.clone() else {
                    return;
                };
                let of = (key.namespace.clone(), service.clone());
                let slices = &mut self.services.entry(of.clone()).or_default().slices;
                slices.insert(key.name.clone(), source);
                self.owners.insert(key, service);
                touched.insert(of);
            }
            Source::Pod(ips) => self.pod(key, ips),
        }
    }

    fn delete(&mut self, key: &ObjectRef, touched: &mut BTreeSet<(String, String)>) {
        if let Some(known) = self.known.get_mut(&key.kind) {
            known.remove(key);
        }
        match key.kind {
            ObjectKind::Namespace => self.zone.namespaces.remove(&key.name),
            ObjectKind::Service => {
                let service = (key.namespace.clone(), key.name.clone());
                if let Some(family) = self.services.get_mut(&service) {
                    family.service = None;
                    touched.insert(service);
                }
            }
            ObjectKind::EndpointSlice => self.disown(key, touched),
            ObjectKind::Pod => self.pod(key.clone(), BTreeSet::new()),
        }
    }

    /// Takes a slice from the Service that had it.
    fn disown(&mut self, key: &ObjectRef, touched: &mut BTreeSet<(String, String)>) {
        let Some(service) = self.owners.remove(key) else {
            return;
        };
        let of = (key.namespace.clone(), service);
        if let Some(family) = self.services.get_mut(&of) {
            family.slices.remove(&key.name);
            touched.insert(of);
        }
    }

    fn pod(&mut self, key: ObjectRef, ips: BTreeSet<IpAddr>) {
        let namespace = key.namespace.clone();
        let before = self.pods.remove(&key).unwrap_or_default();
        for ip in before.difference(&ips) {
            let place = (namespace.clone(), *ip);
            match self.zone.pods.get(&place) {
                Some(count) if *count > 1 => {
                    let left = count - 1;
                    self.zone.pods.insert(place, left);
                }
                _ => self.zone.pods.remove(&place),
            }
        }
        for ip in ips.difference(&before) {
            let place = (namespace.clone(), *ip);
            let count = self.zone.pods.get(&place).copied().unwrap_or(0);
            self.zone.pods.insert(place, count + 1);
        }
        if !ips.is_empty() {
            self.pods.insert(key, ips);
        }
    }

    /// Makes one Service's names anew. If they say the same as before nothing moves.
    fn rebuild(&mut self, namespace: String, name: String) {
        let key = unit_key(&namespace, &name);
        let domain = self.zone.domain();
        let path = format!("{key}.svc.{domain}");
        let place = (namespace, name);
        let family = self.services.get(&place);
        if family.is_some_and(|family| family.service.is_none() && family.slices.is_empty()) {
            self.services.remove(&place);
        }
        let family = self.services.get(&place);
        let unit = family.and_then(|family| {
            let service = family.service.as_ref()?;
            Unit::build(path, service, family.slices.values())
        });
        let before = self.zone.units.get(&key).cloned();
        if before.as_deref() == unit.as_ref() {
            return;
        }
        let names = |unit: Option<&Unit>| unit.map(Unit::reverse_names).unwrap_or_default();
        let (old, new) = (names(before.as_deref()), names(unit.as_ref()));
        old.difference(&new).for_each(|entry| self.unname(entry));
        new.difference(&old).for_each(|entry| self.name(entry));
        match unit {
            Some(unit) => self.zone.units.insert(key, Arc::new(unit)),
            None => self.zone.units.remove(&key),
        }
    }

    fn name(&mut self, entry: &ReverseEntry) {
        let mut claims = self
            .zone
            .reverse
            .get(&entry.ip)
            .cloned()
            .unwrap_or_default();
        claims.insert(entry.claim.clone());
        self.zone.reverse.insert(entry.ip, claims);
    }

    fn unname(&mut self, entry: &ReverseEntry) {
        let mut claims = self
            .zone
            .reverse
            .get(&entry.ip)
            .cloned()
            .unwrap_or_default();
        claims.remove(&entry.claim);
        match claims.is_empty() {
            true => self.zone.reverse.remove(&entry.ip),
            false => self.zone.reverse.insert(entry.ip, claims),
        }
    }
}
