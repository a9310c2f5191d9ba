//! What is remembered of others' answers: bounded, each for a time of its own.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// How much a cache may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    pub entries: usize,
    /// As the caller weighs its values.
    pub bytes: usize,
}

/// A map that forgets: values at the end of their time, and when it is full those that nobody asked for lately.
///
/// It holds two generations. Everything new goes into the younger one; when that has half of the capacity, it becomes the
/// older one, and what was the older one is dropped. Whatever is asked for moves into the younger one. So what is
/// dropped was not asked for while half of the capacity went by, and nothing is ever searched or sorted.
///
/// Its time is the time since any fixed moment.
#[derive(Debug)]
pub struct Cache<K, V> {
    capacity: Capacity,
    young: Generation<K, V>,
    old: Generation<K, V>,
}

#[derive(Debug)]
struct Generation<K, V> {
    entries: HashMap<K, Entry<V>>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    bytes: usize,
    kept_at: Duration,
    expires: Duration,
}

/// A value that is still good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept<V> {
    pub value: V,
    pub age: Duration,
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    pub fn new(capacity: Capacity) -> Self {
        Cache {
            capacity,
            young: Generation::default(),
            old: Generation::default(),
        }
    }

    /// The value, and how long ago it was put.
    pub fn get<Q>(&mut self, key: &Q, now: Duration) -> Option<Kept<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if let Some((key, entry)) = self.old.take(key) {
            self.add(key, entry);
        }
        let entry = self.young.entries.get(key)?;
        if entry.expires <= now {
            self.young.take(key);
            return None;
        }
        Some(Kept {
            value: entry.value.clone(),
            age: now.saturating_sub(entry.kept_at),
        })
    }

    /// Keeps `value` for `time`; nothing of no time, and nothing that is larger than a generation.
    pub fn put(&mut self, key: K, value: V, bytes: usize, time: Duration, now: Duration) {
        self.old.take(&key);
        self.young.take(&key);
        if time.is_zero() || bytes > self.capacity.bytes / 2 {
            return;
        }
        let entry = Entry {
            value,
            bytes,
            kept_at: now,
            expires: now + time,
        };
        self.add(key, entry);
    }

    pub fn len(&self) -> usize {
        self.young.entries.len() + self.old.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn add(&mut self, key: K, entry: Entry<V>) {
        let half = Capacity {
            entries: (self.capacity.entries / 2).max(1),
            bytes: self.capacity.bytes / 2,
        };
        let is_full =
            self.young.entries.len() >= half.entries || self.young.bytes + entry.bytes > half.bytes;
        if is_full {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.bytes += entry.bytes;
        self.young.entries.insert(key, entry);
    }
}

impl<K: Hash + Eq, V> Generation<K, V> {
    fn take<Q>(&mut self, key: &Q) -> Option<(K, Entry<V>)>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let (key, entry) = self.entries.remove_entry(key)?;
        self.bytes -= entry.bytes;
        Some((key, entry))
    }
}

impl<K, V> Default for Generation<K, V> {
    fn default() -> Self {
        Generation {
            entries: HashMap::new(),
            bytes: 0,
        }
    }
}
