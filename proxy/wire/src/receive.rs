//! The proxy's side: publications in, specs out.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portcullis_route::spec::Specs;

use crate::{
    MAX_SET_BYTES, MAX_UNITS, ProtocolError,
    decode::{Decoded, decode},
    message::Publication,
    set::UnitSet,
    unit::{Refusal, Unit, UnitKey},
};

/// The set that a proxy holds.
pub struct Received {
    known_feature: u32,
    /// As they came, understood or not: a newer proxy may understand the file that is made of them.
    units: UnitSet,
    decoded: BTreeMap<UnitKey, Decoded>,
    instance: Option<String>,
    version: u64,
}

/// What became of a publication.
#[derive(Debug, PartialEq, Eq)]
pub struct Applied {
    pub refused: Vec<Refusal>,
    /// Some unit differs from before.
    pub is_changed: bool,
}

impl Received {
    /// An empty set of a proxy that knows features up to a number ([`crate::KNOWN_FEATURE`]).
    pub fn new(known_feature: u32) -> Self {
        Self {
            known_feature,
            units: UnitSet::new(),
            decoded: BTreeMap::new(),
            instance: None,
            version: 0,
        }
    }

    /// Takes a stored set, as if a controller of unknown instance had sent it.
    pub fn restore(&mut self, units: UnitSet) -> Applied {
        let units: Vec<Unit> = units.into_values().map(Arc::unwrap_or_clone).collect();
        let applied = self.replace(units, Vec::new(), true);
        self.instance = None;
        self.version = 0;
        applied
    }

    /// Takes a publication whole or not at all.
    ///
    /// # Errors
    /// [`ProtocolError`] for a change of something else than what is held, and for a set that is too large. What is
    /// held stays.
    pub fn apply(&mut self, publication: Publication) -> Result<Applied, ProtocolError> {
        let is_full = publication.base.is_none();
        if let Some(base) = publication.base {
            if self.instance.as_deref() != Some(publication.instance.as_str()) {
                return Err(ProtocolError::WrongInstance {
                    got: publication.instance,
                    held: self.instance.clone(),
                });
            }
            if base != self.version {
                return Err(ProtocolError::WrongBase {
                    base,
                    held: self.version,
                });
            }
        }
        self.check_size(&publication, is_full)?;
        let applied = self.replace(publication.put, publication.delete, is_full);
        self.instance = Some(publication.instance);
        self.version = publication.version;
        Ok(applied)
    }

    /// What is to be served. Specs of unchanged units are the same allocations as before.
    pub fn specs(&self) -> Specs {
        let mut specs = Specs::default();
        for decoded in self.decoded.values() {
            match decoded {
                Decoded::Listener(spec) => specs.listeners.push(spec.clone()),
                Decoded::Host(spec) => specs.hosts.push(spec.clone()),
                Decoded::Backend(spec) => specs.backends.push(spec.clone()),
                Decoded::Certificate(spec) => specs.certificates.push(spec.clone()),
                Decoded::TlsPolicy(spec) => specs.tls_policies.push(spec.clone()),
                Decoded::Global(spec) => specs.global = spec.clone(),
            }
        }
        specs
    }

    pub fn units(&self) -> &UnitSet {
        &self.units
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn instance(&self) -> Option<&str> {
        self.instance.as_deref()
    }

    fn check_size(&self, publication: &Publication, is_full: bool) -> Result<(), ProtocolError> {
        let replaced: BTreeSet<&UnitKey> = publication.put.iter().map(|unit| &unit.key).collect();
        let kept = self
            .units
            .iter()
            .filter(|(key, _)| !is_full && !replaced.contains(key));
        let (mut count, mut bytes) = (replaced.len(), 0usize);
        for (_, unit) in kept {
            count += 1;
            bytes += unit.body.len();
        }
        bytes += publication.put.iter().map(|u| u.body.len()).sum::<usize>();
        if count > MAX_UNITS {
            return Err(ProtocolError::TooManyUnits);
        }
        if bytes > MAX_SET_BYTES {
            return Err(ProtocolError::SetTooLarge);
        }
        Ok(())
    }

    fn replace(&mut self, put: Vec<Unit>, delete: Vec<UnitKey>, is_full: bool) -> Applied {
        let mut refused = Vec::new();
        let mut gone = delete;
        if is_full {
            let named: BTreeSet<&UnitKey> = put.iter().map(|unit| &unit.key).collect();
            let known = self.units.keys().chain(self.decoded.keys());
            gone.extend(known.filter(|key| !named.contains(key)).cloned());
        }
        let mut is_changed = false;
        for key in &gone {
            is_changed |= self.units.remove(key).is_some();
            is_changed |= self.decoded.remove(key).is_some();
        }
        for unit in put {
            let same = self.units.get(&unit.key);
            if same.is_some_and(|old| **old == unit) && self.decoded.contains_key(&unit.key) {
                self.still_refused(&unit, &mut refused);
                continue;
            }
            is_changed = true;
            if let Some(decoded) = decode(&unit, self.known_feature, &mut refused) {
                self.decoded.insert(unit.key.clone(), decoded);
            }
            self.units.insert(unit.key.clone(), Arc::new(unit));
        }
        Applied {
            refused,
            is_changed,
        }
    }

    /// A full set repeats units that are held; those that are not understood are still to be named.
    fn still_refused(&self, unit: &Unit, refused: &mut Vec<Refusal>) {
        let denies = matches!(self.decoded.get(&unit.key), Some(Decoded::Host(_)));
        if denies {
            let _ = decode(unit, self.known_feature, refused);
        }
    }
}
