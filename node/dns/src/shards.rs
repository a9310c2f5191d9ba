//! A map whose copies share what did not change.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

/// A map in pieces: a copy shares all of them, and a change copies only the piece it falls into. So a reader can hold
/// yesterday's map while today's is made, at the price of one piece per change and not of the whole map.
#[derive(Debug, Clone)]
pub(crate) struct Shards<K, V> {
    pieces: Vec<Arc<HashMap<K, V>>>,
    hasher: RandomState,
}

impl<K: Hash + Eq + Clone, V: Clone> Shards<K, V> {
    pub(crate) fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.pieces[self.place(key)].get(key)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        let place = self.place(&key);
        Arc::make_mut(&mut self.pieces[place]).insert(key, value);
    }

    pub(crate) fn remove<Q>(&mut self, key: &Q)
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let place = self.place(key);
        if self.pieces[place].contains_key(key) {
            Arc::make_mut(&mut self.pieces[place]).remove(key);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.pieces.iter().map(|piece| piece.len()).sum()
    }

    fn place<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        // Fewer than 2^32 pieces: the cut loses nothing that matters.
        self.hasher.hash_one(key) as usize % self.pieces.len()
    }
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        Shards {
            pieces: (0..PIECES).map(|_| Arc::default()).collect(),
            hasher: RandomState::new(),
        }
    }
}

/// Ten thousand Services are then some forty in each.
const PIECES: usize = 256;
