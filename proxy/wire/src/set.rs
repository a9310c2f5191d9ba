//! Sets of units and what differs between two of them.

use std::{collections::BTreeMap, sync::Arc};

use crate::unit::{Unit, UnitKey};

/// All units of one publication, by key.
pub type UnitSet = BTreeMap<UnitKey, Arc<Unit>>;

/// What turns one set into another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    pub put: Vec<Arc<Unit>>,
    pub delete: Vec<UnitKey>,
}

impl Delta {
    /// The whole set.
    pub fn full(set: &UnitSet) -> Self {
        Self {
            put: set.values().cloned().collect(),
            delete: Vec::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.delete.is_empty()
    }
}

pub fn diff(previous: &UnitSet, next: &UnitSet) -> Delta {
    let differs = |unit: &&Arc<Unit>| match previous.get(&unit.key) {
        Some(old) => !Arc::ptr_eq(old, unit) && old.hash != unit.hash,
        None => true,
    };
    let gone = previous.keys().filter(|key| !next.contains_key(key));
    Delta {
        put: next.values().filter(differs).cloned().collect(),
        delete: gone.cloned().collect(),
    }
}
