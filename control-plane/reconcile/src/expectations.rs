//! What a controller has asked for and not yet seen in its cache.
//!
//! Acting on a cache that does not show the last action would do it twice. Before each batch the controller states what
//! it expects; watch events fulfil it; until then the owner is left alone. A lost event is forgiven after
//! [`FORGIVEN_AFTER`].

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// As upstream: long enough for any watch delay, short enough that a lost event heals.
pub const FORGIVEN_AFTER: SignedDuration = SignedDuration::from_mins(5);

/// The outstanding effects of one owner's last batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectations {
    creations: usize,
    deletions: BTreeSet<String>,
    since: Option<Timestamp>,
}

impl Expectations {
    /// Starts a batch. `deletions` are UIDs.
    pub fn expect(
        &mut self,
        creations: usize,
        deletions: impl IntoIterator<Item = String>,
        now: Timestamp,
    ) {
        self.creations = creations;
        self.deletions = deletions.into_iter().collect();
        self.since = Some(now);
    }

    /// A created object was seen, or its creation failed.
    pub fn creation_settled(&mut self) {
        self.creations = self.creations.saturating_sub(1);
    }

    /// A deletion was seen (deletionTimestamp set or object gone), or it failed.
    pub fn deletion_settled(&mut self, uid: &str) {
        self.deletions.remove(uid);
    }

    /// Whether the cache can be trusted to show the last batch.
    pub fn satisfied(&self, now: Timestamp) -> bool {
        let forgiven = self
            .since
            .is_none_or(|since| now.duration_since(since) > FORGIVEN_AFTER);
        forgiven || (self.creations == 0 && self.deletions.is_empty())
    }

    /// When an unfulfilled batch is forgiven, for the next look.
    pub fn forgiven_in(&self, now: Timestamp) -> Option<SignedDuration> {
        let since = self.since?;
        (!self.satisfied(now))
            .then(|| FORGIVEN_AFTER - now.duration_since(since) + SignedDuration::from_secs(1))
    }
}

/// Versions an owner has written and its cache has to show before it writes again.
///
/// A new object is not protected by any resourceVersion: planned from a cache that misses the last scale-up, it would
/// come on top of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    versions: BTreeMap<String, u64>,
    since: Option<Timestamp>,
}

impl Written {
    /// Notes a write by the object's name and the resourceVersion the API server answered with. Versions that are not
    /// numbers cannot be compared (KEP-5504 says they can) and are not waited for.
    pub fn note(&mut self, name: &str, resource_version: &str, now: Timestamp) {
        if let Ok(version) = resource_version.parse() {
            self.versions.insert(name.to_owned(), version);
            self.since = Some(now);
        }
    }

    /// How long to wait for the cache at most; `None` when it shows everything or is no longer waited for.
    pub fn missing_from<'a>(
        &self,
        cache: impl IntoIterator<Item = &'a ObjectMeta>,
        now: Timestamp,
    ) -> Option<SignedDuration> {
        let mut missing = self.versions.clone();
        for metadata in cache {
            let shown = metadata
                .resource_version
                .as_deref()
                .and_then(|text| text.parse::<u64>().ok());
            let name = metadata.name.as_deref().unwrap_or_default();
            if missing
                .get(name)
                .is_some_and(|written| shown.is_none_or(|shown| shown >= *written))
            {
                missing.remove(name);
            }
        }
        let left = MISSED_AFTER - now.duration_since(self.since?);
        (!missing.is_empty() && left > SignedDuration::ZERO).then_some(left)
    }
}

/// An object that was deleted before the cache saw it never shows; the wait must end.
const MISSED_AFTER: SignedDuration = SignedDuration::from_secs(30);
