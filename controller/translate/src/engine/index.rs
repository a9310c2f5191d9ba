//! Who depends on what.

use std::collections::{BTreeMap, BTreeSet};

/// From one key to many values, each in order.
pub(super) struct Index<K, V> {
    values: BTreeMap<K, BTreeSet<V>>,
}

impl<K: Ord + Clone, V: Ord + Clone> Index<K, V> {
    pub(super) fn get(&self, key: &K) -> impl Iterator<Item = &V> {
        self.values.get(key).into_iter().flatten()
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.values.contains_key(key)
    }

    pub(super) fn insert(&mut self, key: &K, value: &V) {
        let values = self.values.entry(key.clone()).or_default();
        values.insert(value.clone());
    }

    pub(super) fn remove(&mut self, key: &K, value: &V) {
        let Some(values) = self.values.get_mut(key) else {
            return;
        };
        values.remove(value);
        if values.is_empty() {
            self.values.remove(key);
        }
    }

    /// Replaces the keys under which one value stands.
    pub(super) fn replace<'k>(
        &mut self,
        old: impl IntoIterator<Item = &'k K>,
        new: impl IntoIterator<Item = &'k K>,
        value: &V,
    ) where
        K: 'k,
    {
        for key in old {
            self.remove(key, value);
        }
        for key in new {
            self.insert(key, value);
        }
    }
}

impl<K, V> Default for Index<K, V> {
    fn default() -> Self {
        Self {
            values: BTreeMap::new(),
        }
    }
}
