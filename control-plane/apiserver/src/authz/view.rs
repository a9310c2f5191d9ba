//! The roles and bindings in memory, kept by the store's watches.

use std::sync::Arc;
use std::time::Duration;

use portcullis_resource::error::ApiError;
use portcullis_resource::kind::{self, KindSpec};
use portcullis_resource::rbac::{self, Objects, RbacKind};
use portcullis_store::{Event, EventKind, KeyValue, List, Revision, StoreError, Watch, WatchEnd};

use crate::api::{Api, store_error};
use crate::object;

/// All roles and bindings as of one revision, and what happens to them from there on.
pub(crate) struct View {
    objects: Objects,
    feeds: [Feed; 4],
}

struct Feed {
    kind: RbacKind,
    spec: &'static KindSpec,
    watch: Watch,
}

/// Why following stopped.
enum Ended {
    /// For good: the store is closed.
    Closed,
    /// History was lost, or we did not keep up: all is to be read again.
    Behind,
}

impl View {
    /// Reads everything and publishes it.
    pub(crate) async fn open(api: &Api) -> Result<Self, ApiError> {
        let mut objects = Objects::default();
        let mut at = None;
        for (kind, plural) in KINDS {
            let prefix = object::prefix(spec(plural), "");
            let list = List {
                at,
                ..List::all(&prefix)
            };
            let page = api.store.list(list).await.map_err(store_error)?;
            at = Some(page.revision);
            for stored in &page.items {
                take(&mut objects, kind, stored)?;
            }
        }
        let after = at.unwrap_or(Revision::FIRST);
        let feed = |(kind, plural)| {
            let spec = spec(plural);
            let watch = api.store.watch(&object::prefix(spec, ""), after);
            watch.map(|watch| Feed { kind, spec, watch })
        };
        let [a, b, c, d] = KINDS.map(feed);
        let feeds = || Ok::<_, StoreError>([a?, b?, c?, d?]);
        let feeds = feeds().map_err(store_error)?;
        api.authorizer.publish(objects.compile());
        Ok(Self { objects, feeds })
    }

    /// Publishes every change until the drain or the store ends.
    pub(crate) async fn follow(mut self, api: Arc<Api>) {
        loop {
            let ended = tokio::select! {
                () = api.drain.signalled() => return,
                ended = self.publish_changes(&api) => ended,
            };
            if matches!(ended, Ended::Closed) {
                return;
            }
            // What was read last decides until then: forgetting it would lock everybody out.
            self = loop {
                match Self::open(&api).await {
                    Ok(view) => break view,
                    Err(error) => tracing::error!(%error, "the roles cannot be read again"),
                }
                tokio::select! {
                    () = api.drain.signalled() => return,
                    () = tokio::time::sleep(PAUSE) => {}
                }
            };
        }
    }

    async fn publish_changes(&mut self, api: &Api) -> Ended {
        loop {
            let changed = match self.next().await {
                Ok(changed) => changed,
                Err(WatchEnd::Closed) => return Ended::Closed,
                Err(WatchEnd::TooSlow | WatchEnd::History(_)) => return Ended::Behind,
            };
            let Ok(()) = self
                .apply(changed.0, &changed.1)
                .and_then(|()| self.drain())
            else {
                return Ended::Behind;
            };
            api.authorizer.publish(self.objects.compile());
        }
    }

    /// The next event, and of which feed.
    async fn next(&mut self) -> Result<(usize, Arc<Event>), WatchEnd> {
        let [a, b, c, d] = &mut self.feeds;
        tokio::select! {
            event = a.watch.next() => Ok((0, event?)),
            event = b.watch.next() => Ok((1, event?)),
            event = c.watch.next() => Ok((2, event?)),
            event = d.watch.next() => Ok((3, event?)),
        }
    }

    /// Takes what is waiting already, so that a burst makes one policy.
    fn drain(&mut self) -> Result<(), ApiError> {
        for index in 0..self.feeds.len() {
            while let Ok(Some(event)) = self.feeds[index].watch.try_next() {
                self.apply(index, &event)?;
            }
        }
        Ok(())
    }

    fn apply(&mut self, feed: usize, event: &Event) -> Result<(), ApiError> {
        let Feed { kind, spec, .. } = self.feeds[feed];
        if event.kind != EventKind::Deleted {
            return take(&mut self.objects, kind, &event.current);
        }
        // The key says which; a namespace comes first where there is one.
        let relative = event.key().strip_prefix(&object::prefix(spec, ""));
        let relative = relative.unwrap_or_default();
        let (namespace, name) = match spec.namespaced {
            true => relative.split_once('/').unwrap_or_default(),
            false => ("", relative),
        };
        self.objects.remove(kind, namespace, name);
        Ok(())
    }
}

fn take(objects: &mut Objects, kind: RbacKind, stored: &KeyValue) -> Result<(), ApiError> {
    let object = object::decode_stored(stored, stored.modified)?;
    objects.apply(kind, &object);
    Ok(())
}

fn spec(plural: &str) -> &'static KindSpec {
    kind::by_resource(rbac::GROUP, "v1", plural).expect("RBAC's kinds have rows")
}

const KINDS: [(RbacKind, &str); 4] = [
    (RbacKind::Role, "clusterroles"),
    (RbacKind::Role, "roles"),
    (RbacKind::Binding, "clusterrolebindings"),
    (RbacKind::Binding, "rolebindings"),
];

/// Between tries to read from a store that fails.
const PAUSE: Duration = Duration::from_secs(1);
