//! Objects of one kind: the truth, the log of its changes, and a cache that follows at its own pace.

use std::collections::BTreeMap;
use std::sync::Arc;

/// What one event changed in the cache.
pub(super) struct Seen<K> {
    pub before: Option<Arc<K>>,
    pub after: Option<Arc<K>>,
}

/// Objects of one kind: as they are, every change in order, and what the cache has seen of it.
pub(super) struct Shelf<K> {
    pub truth: BTreeMap<String, Arc<K>>,
    pub log: Vec<(String, Option<Arc<K>>)>,
    pub cache: BTreeMap<String, Arc<K>>,
    pub seen: usize,
}

impl<K> Default for Shelf<K> {
    fn default() -> Self {
        Self {
            truth: BTreeMap::new(),
            log: Vec::new(),
            cache: BTreeMap::new(),
            seen: 0,
        }
    }
}

impl<K> Shelf<K> {
    pub fn put(&mut self, name: &str, object: K) {
        let object = Arc::new(object);
        self.truth.insert(name.to_owned(), Arc::clone(&object));
        self.log.push((name.to_owned(), Some(object)));
    }

    pub fn remove(&mut self, name: &str) {
        self.truth.remove(name);
        self.log.push((name.to_owned(), None));
    }

    /// The cache takes one event. Returns the object before and after.
    pub fn see(&mut self) -> Option<Seen<K>> {
        let (name, object) = self.log.get(self.seen)?.clone();
        self.seen += 1;
        let before = match &object {
            Some(object) => self.cache.insert(name, Arc::clone(object)),
            None => self.cache.remove(&name),
        };
        Some(Seen {
            before,
            after: object,
        })
    }

    pub fn cached(&self) -> Vec<Arc<K>> {
        self.cache.values().cloned().collect()
    }
}
