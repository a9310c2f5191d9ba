//! The incremental engine: what changed, which units looked at it, and nothing else is made again.

mod index;
mod units;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portcullis_route::spec::{BackendSpec, CertificateSpec, HostMatch, Specs};

use crate::{
    backend::BackendKey,
    certificate::Materials,
    fragment::{Fragment, Precedence},
    host::HostUnit,
    notice::Notice,
    object::{Change, Kind, ObjectKey, ObjectRef},
    settings::Settings,
    snapshot::Snapshot,
    status::{self, StatusChange},
};
use index::Index;

/// What the objects mean. Nothing in it is an error: a bad object becomes a notice and a denied route.
#[derive(Clone, Debug)]
pub struct Translation {
    /// The same `Arc` as last time when nothing changed.
    pub specs: Arc<Specs>,
    /// Ingresses of ours whose published addresses differ from what they should be.
    pub statuses: Vec<StatusChange>,
    /// Everything there is to say about Ingresses now, in a stable order.
    pub notices: Vec<Arc<[Notice]>>,
    /// Every Ingress that is ours, served or not.
    pub ours: Arc<[ObjectKey]>,
}

pub struct Translator {
    settings: Settings,
    snapshot: Snapshot,
    dirty: Dirty,
    materials: Materials,

    fragments: BTreeMap<ObjectKey, Arc<Fragment>>,
    hosts: BTreeMap<HostMatch, HostUnit>,
    backends: BTreeMap<BackendKey, Arc<BackendSpec>>,
    certificates: BTreeMap<ObjectKey, Arc<CertificateSpec>>,
    fallback_certificate: Option<Arc<CertificateSpec>>,
    specs: Arc<Specs>,
    ours: Arc<[ObjectKey]>,

    /// Ingresses of each host, in the order of precedence.
    ingresses_of: Index<HostMatch, (Precedence, ObjectKey)>,
    hosts_by_service: Index<ObjectKey, HostMatch>,
    hosts_by_secret: Index<ObjectKey, HostMatch>,
    hosts_by_backend: Index<BackendKey, HostMatch>,
    hosts_by_certificate: Index<ObjectKey, HostMatch>,
}

/// Units that must be made again.
#[derive(Default)]
struct Dirty {
    ingresses: BTreeSet<ObjectKey>,
    hosts: BTreeSet<HostMatch>,
    backends: BTreeSet<BackendKey>,
    certificates: BTreeSet<ObjectKey>,
    /// Some unit of the specs was replaced.
    specs: bool,
}

/// The whole translation from nothing.
pub fn translate(snapshot: &Snapshot, settings: &Settings) -> Translation {
    let mut translator = Translator::new(settings.clone());
    translator.snapshot = snapshot.clone();
    for touched in snapshot.all() {
        translator.touch(touched);
    }
    translator.translate()
}

impl Translator {
    pub fn new(settings: Settings) -> Self {
        let fallback = settings.fallback_certificate.as_ref();
        let fallback_certificate = fallback.map(|given| {
            Arc::new(CertificateSpec {
                server_names: vec![HostMatch::Any],
                ..CertificateSpec::clone(given)
            })
        });
        let mut dirty = Dirty {
            specs: true,
            ..Dirty::default()
        };
        // The host of all unknown names is there without any Ingress.
        dirty.hosts.insert(HostMatch::Any);
        dirty
            .certificates
            .extend(settings.default_certificate.clone());
        Self {
            settings,
            snapshot: Snapshot::default(),
            dirty,
            materials: Materials::default(),
            fragments: BTreeMap::new(),
            hosts: BTreeMap::new(),
            backends: BTreeMap::new(),
            certificates: BTreeMap::new(),
            fallback_certificate,
            specs: Arc::default(),
            ours: Arc::from([]),
            ingresses_of: Index::default(),
            hosts_by_service: Index::default(),
            hosts_by_secret: Index::default(),
            hosts_by_backend: Index::default(),
            hosts_by_certificate: Index::default(),
        }
    }

    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Takes what a watch says; [`Self::translate`] returns what follows from it.
    pub fn apply(&mut self, change: Change) {
        for touched in self.snapshot.apply(change) {
            self.touch(touched);
        }
    }

    /// Brings every unit up to date. Costs in proportion to what changed, save for assembling the lists of units.
    pub fn translate(&mut self) -> Translation {
        self.read_ingresses();
        self.rebuild_hosts();
        self.rebuild_backends();
        self.rebuild_certificates();
        if std::mem::take(&mut self.dirty.specs) {
            self.specs = Arc::new(self.assemble());
        }
        Translation {
            specs: self.specs.clone(),
            statuses: self.statuses(),
            notices: self.notices(),
            ours: self.ours.clone(),
        }
    }

    fn touch(&mut self, touched: ObjectRef) {
        match touched.kind {
            Kind::Ingress => {
                self.dirty.ingresses.insert(touched.key);
            }
            // Any Ingress may name the class, or have been taken up by default.
            Kind::IngressClass => {
                let all = self.snapshot.ingresses.keys().cloned();
                self.dirty.ingresses.extend(all);
            }
            Kind::Service => {
                let hosts = self.hosts_by_service.get(&touched.key).cloned();
                self.dirty.hosts.extend(hosts);
                self.touch_backends(&touched.key);
            }
            Kind::EndpointSlice => self.touch_backends(&touched.key),
            // No unit looks at them: the addresses to publish are read from the snapshot.
            Kind::Pod | Kind::Node => {}
            Kind::Secret => {
                self.materials.forget(&touched.key);
                let hosts = self.hosts_by_secret.get(&touched.key).cloned();
                self.dirty.hosts.extend(hosts);
                self.dirty.certificates.insert(touched.key);
            }
        }
    }

    fn touch_backends(&mut self, service: &ObjectKey) {
        let first = BackendKey {
            service: service.clone(),
            port: String::new(),
        };
        let of_service = self.backends.range(first..).map(|(key, _)| key);
        let of_service = of_service.take_while(|key| key.service == *service);
        self.dirty.backends.extend(of_service.cloned());
    }

    fn assemble(&self) -> Specs {
        let default = self.settings.default_certificate.as_ref();
        let has_default = default.is_some_and(|key| self.certificates.contains_key(key));
        let fallback = self
            .fallback_certificate
            .iter()
            .filter(|_| !has_default)
            .cloned();
        Specs {
            listeners: self.settings.listeners.clone(),
            hosts: self
                .hosts
                .values()
                .map(|unit| unit.routes.clone())
                .collect(),
            backends: self.backends.values().cloned().collect(),
            certificates: self
                .certificates
                .values()
                .cloned()
                .chain(fallback)
                .collect(),
            tls_policies: self.settings.tls_policies.clone(),
            global: self.settings.global.clone(),
        }
    }

    fn statuses(&self) -> Vec<StatusChange> {
        let Some(desired) = status::desired(&self.snapshot, &self.settings) else {
            return Vec::new();
        };
        let ours = self.fragments.values().filter(|fragment| fragment.ours);
        let differs = |fragment: &&Arc<Fragment>| {
            let ingress = self.snapshot.ingresses.get(&fragment.key);
            ingress.is_some_and(|ingress| status::published(ingress) != desired)
        };
        ours.filter(differs)
            .map(|fragment| StatusChange {
                ingress: fragment.key.clone(),
                addresses: desired.clone(),
            })
            .collect()
    }

    fn notices(&self) -> Vec<Arc<[Notice]>> {
        let fragments = self.fragments.values().map(|fragment| &fragment.notices);
        let hosts = self.hosts.values().map(|unit| &unit.notices);
        let told = fragments.chain(hosts).filter(|notices| !notices.is_empty());
        told.cloned().collect()
    }
}
