//! Each kind of unit, made again and compared.

use std::{collections::BTreeSet, sync::Arc};

use portcullis_route::spec::HostMatch;

use super::Translator;
use crate::{
    backend::{self, BackendKey},
    class,
    fragment::Fragment,
    host::{self, HostUnit, Sources},
    object::ObjectKey,
};

impl Translator {
    pub(super) fn read_ingresses(&mut self) {
        let dirty = std::mem::take(&mut self.dirty.ingresses);
        if dirty.is_empty() {
            return;
        }
        for key in dirty {
            let ingress = self.snapshot.ingresses.get(&key);
            let new = ingress.and_then(|ingress| {
                let claim = class::claim(ingress, &self.snapshot, &self.settings);
                Fragment::build(ingress, claim, &self.settings)
            });
            let old = self.fragments.remove(&key);
            if let (Some(old), Some(new)) = (&old, &new)
                && **old == *new
            {
                self.fragments.insert(key, old.clone());
                continue;
            }
            if let Some(old) = old {
                self.index_ingress(&old, false);
            }
            if let Some(new) = new {
                self.index_ingress(&new, true);
                self.fragments.insert(key, Arc::new(new));
            }
        }
        let ours = self.fragments.values().filter(|fragment| fragment.ours);
        self.ours = ours.map(|fragment| fragment.key.clone()).collect();
    }

    fn index_ingress(&mut self, fragment: &Fragment, present: bool) {
        let entry = (fragment.precedence.clone(), fragment.key.clone());
        for host in fragment.hosts() {
            match present {
                true => self.ingresses_of.insert(&host, &entry),
                false => self.ingresses_of.remove(&host, &entry),
            }
            self.dirty.hosts.insert(host);
        }
    }

    pub(super) fn rebuild_hosts(&mut self) {
        for host in std::mem::take(&mut self.dirty.hosts) {
            let wanted = host == HostMatch::Any || self.ingresses_of.contains(&host);
            let old = self.hosts.remove(&host);
            let mut new = wanted.then(|| self.build_host(&host));
            self.index_host(&host, old.as_ref(), new.as_ref());
            match (&old, &mut new) {
                (Some(old), Some(new)) if old.routes == new.routes => {
                    new.routes = old.routes.clone();
                }
                (None, None) => {}
                _ => self.dirty.specs = true,
            }
            if let Some(new) = new {
                self.hosts.insert(host, new);
            }
        }
    }

    fn build_host(&mut self, host: &HostMatch) -> HostUnit {
        let keys = self.ingresses_of.get(host);
        let fragments: Vec<&Fragment> = keys
            .filter_map(|(_, key)| self.fragments.get(key).map(Arc::as_ref))
            .collect();
        let mut sources = Sources {
            settings: &self.settings,
            snapshot: &self.snapshot,
            materials: &mut self.materials,
        };
        host::build(host, &fragments, &mut sources)
    }

    fn index_host(&mut self, host: &HostMatch, old: Option<&HostUnit>, new: Option<&HostUnit>) {
        let none = BTreeSet::new();
        let services = |unit: Option<&HostUnit>| unit.map_or(none.clone(), |u| u.services.clone());
        let secrets = |unit: Option<&HostUnit>| unit.map_or(none.clone(), |u| u.secrets.clone());
        self.hosts_by_service
            .replace(&services(old), &services(new), host);
        self.hosts_by_secret
            .replace(&secrets(old), &secrets(new), host);

        let no_backends = BTreeSet::new();
        let old_backends = old.map_or(&no_backends, |unit| &unit.backends);
        let new_backends = new.map_or(&no_backends, |unit| &unit.backends);
        self.hosts_by_backend
            .replace(old_backends, new_backends, host);
        let changed = old_backends.symmetric_difference(new_backends);
        self.dirty.backends.extend(changed.cloned());

        let old_certificate = old.and_then(|unit| unit.elected.as_ref());
        let new_certificate = new.and_then(|unit| unit.elected.as_ref());
        if old_certificate != new_certificate {
            self.hosts_by_certificate
                .replace(old_certificate, new_certificate, host);
            let changed = old_certificate.into_iter().chain(new_certificate);
            self.dirty.certificates.extend(changed.cloned());
        }
    }

    pub(super) fn rebuild_backends(&mut self) {
        for key in std::mem::take(&mut self.dirty.backends) {
            if !self.hosts_by_backend.contains(&key) {
                self.dirty.specs |= self.backends.remove(&key).is_some();
                continue;
            }
            let new = self.build_backend(&key);
            if self.backends.get(&key).is_none_or(|old| **old != new) {
                self.backends.insert(key, Arc::new(new));
                self.dirty.specs = true;
            }
        }
    }

    fn build_backend(&self, key: &BackendKey) -> portcullis_route::spec::BackendSpec {
        let service = self.snapshot.services.get(&key.service);
        let slices = self.snapshot.slices_of(&key.service);
        backend::build(key, service.map(Arc::as_ref), slices)
    }

    pub(super) fn rebuild_certificates(&mut self) {
        for key in std::mem::take(&mut self.dirty.certificates) {
            let names = self.server_names(&key);
            let material = match names.is_empty() {
                true => None,
                false => Some(self.materials.get(&key, &self.snapshot)),
            };
            let new = material.as_deref().and_then(|read| {
                let material = read.as_ref().ok()?;
                Some(material.spec(key.to_string(), names))
            });
            match new {
                None => self.dirty.specs |= self.certificates.remove(&key).is_some(),
                Some(new) => {
                    if self.certificates.get(&key).is_none_or(|old| **old != new) {
                        self.certificates.insert(key, Arc::new(new));
                        self.dirty.specs = true;
                    }
                }
            }
        }
    }

    fn server_names(&self, key: &ObjectKey) -> Vec<HostMatch> {
        let mut names: Vec<HostMatch> = self.hosts_by_certificate.get(key).cloned().collect();
        if self.settings.default_certificate.as_ref() == Some(key) {
            names.push(HostMatch::Any);
        }
        names
    }
}
