//! What every store must do.

use std::sync::Arc;
use std::time::Duration;

use super::{on_disk, put, written};
use crate::watch::MAX_QUEUED_EVENTS;
use crate::{
    EventKind, Expected, List, MemoryStore, Outcome, Put, Revision, Store, StoreError, WatchEnd,
};

macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod memory {
            use super::*;
            $(#[tokio::test] async fn $name() { super::$name(Arc::new(MemoryStore::new())).await; })*
        }
        mod redb {
            use super::*;
            $(#[tokio::test] async fn $name() {
                let folder = tempfile::tempdir().expect("a folder");
                super::$name(on_disk(&folder)).await;
            })*
        }
    };
}

on_both!(
    writes_only_what_is_expected,
    deletes_only_what_is_expected,
    reads_the_past_until_compaction,
    lists_in_pages,
    watches_replay_then_follow,
    watches_of_forgotten_history_are_refused,
    a_slow_watcher_is_cut_off,
    keys_expire,
    too_large_values_are_refused,
    concurrent_increments_lose_nothing,
);

async fn writes_only_what_is_expected(store: Arc<dyn Store>) {
    let first = written(&*store, put("/a", "1", Expected::Absent)).await;
    let again = store
        .put(put("/a", "2", Expected::Absent))
        .await
        .expect("answers");
    let Outcome::Conflict(Some(found)) = again else {
        panic!("{again:?}")
    };
    assert_eq!((&found.value[..], found.modified), (&b"1"[..], first));
    let second = written(&*store, put("/a", "2", Expected::Modified(first))).await;
    assert!(second > first);
    let (found, at) = store.get("/a", None).await.expect("reads");
    let found = found.expect("is there");
    assert_eq!((found.created, found.modified, at), (first, second, second));
    let missing = store.put(put("/b", "1", Expected::Modified(first))).await;
    assert_eq!(missing, Ok(Outcome::Conflict(None)));
}

async fn deletes_only_what_is_expected(store: Arc<dyn Store>) {
    let first = written(&*store, put("/a", "1", Expected::Absent)).await;
    assert!(matches!(
        store.delete("/a", Revision(first.0 + 7)).await,
        Ok(Outcome::Conflict(Some(_)))
    ));
    assert!(matches!(
        store.delete("/a", first).await,
        Ok(Outcome::Written(_))
    ));
    assert_eq!(store.delete("/a", first).await, Ok(Outcome::Conflict(None)));
    assert_eq!(store.get("/a", None).await.expect("reads").0, None);
}

async fn reads_the_past_until_compaction(store: Arc<dyn Store>) {
    let first = written(&*store, put("/p/a", "1", Expected::Absent)).await;
    let second = written(&*store, put("/p/a", "2", Expected::Modified(first))).await;
    written(&*store, put("/p/b", "1", Expected::Absent)).await;
    store.delete("/p/a", second).await.expect("deletes");
    let then = |at| List {
        at: Some(at),
        ..List::all("/p/")
    };
    let page = store.list(then(second)).await.expect("lists");
    assert_eq!(page.items.len(), 1);
    assert_eq!(
        (&page.items[0].value[..], page.revision),
        (&b"2"[..], second)
    );
    let (old, _) = store.get("/p/a", Some(first)).await.expect("reads");
    assert_eq!(&old.expect("was there").value[..], b"1");

    store.compact(second).await.expect("compacts");
    assert!(matches!(
        store.list(then(first)).await,
        Err(StoreError::Compacted { .. })
    ));
    assert_eq!(
        store.list(then(second)).await.expect("lists").items.len(),
        1
    );
    let now = store.list(List::all("/p/")).await.expect("lists");
    assert_eq!(
        now.items.iter().map(|i| i.key.as_str()).collect::<Vec<_>>(),
        ["/p/b"]
    );
    let future = Revision(now.revision.0 + 1);
    assert!(matches!(
        store.list(then(future)).await,
        Err(StoreError::Future { .. })
    ));
}

async fn lists_in_pages(store: Arc<dyn Store>) {
    for key in ["/p/a", "/p/b", "/p/c", "/q/a"] {
        written(&*store, put(key, "1", Expected::Absent)).await;
    }
    let page = |from| List {
        from,
        limit: Some(2),
        ..List::all("/p/")
    };
    let first = store.list(page("")).await.expect("lists");
    assert_eq!((first.items.len(), first.remaining), (2, 1));
    let rest = store.list(page("/p/b\0")).await.expect("lists");
    assert_eq!((rest.items[0].key.as_str(), rest.remaining), ("/p/c", 0));
    assert_eq!(store.count("/p/").await, Ok(3));
}

async fn watches_replay_then_follow(store: Arc<dyn Store>) {
    let first = written(&*store, put("/p/a", "1", Expected::Absent)).await;
    let second = written(&*store, put("/p/a", "2", Expected::Modified(first))).await;
    written(&*store, put("/q/a", "1", Expected::Absent)).await;
    let mut watch = store.watch("/p/", first).expect("watches");
    let replayed = watch.next().await.expect("an event");
    assert_eq!(
        (replayed.kind, replayed.revision),
        (EventKind::Updated, second)
    );
    assert_eq!(
        &replayed.previous.as_ref().expect("has one").value[..],
        b"1"
    );
    assert_eq!(watch.try_next(), Ok(None));
    store.delete("/p/a", second).await.expect("deletes");
    let live = watch.next().await.expect("an event");
    assert_eq!(
        (live.kind, &live.current.value[..]),
        (EventKind::Deleted, &b"2"[..])
    );
    assert_eq!(store.progress(), live.revision);
    let shared = live.derive(|event| event.revision.0);
    assert!(Arc::ptr_eq(&shared, &live.derive(|_| 0_u64)));
}

async fn watches_of_forgotten_history_are_refused(store: Arc<dyn Store>) {
    let first = written(&*store, put("/a", "1", Expected::Absent)).await;
    let second = written(&*store, put("/a", "2", Expected::Modified(first))).await;
    store.compact(second).await.expect("compacts");
    assert!(matches!(
        store.watch("/", first).map(|_| ()),
        Err(StoreError::Compacted { .. })
    ));
    assert!(store.watch("/", second).is_ok());
}

async fn a_slow_watcher_is_cut_off(store: Arc<dyn Store>) {
    let mut watch = store.watch("/", store.progress()).expect("watches");
    for i in 0..=MAX_QUEUED_EVENTS {
        let writing = store.put(put(&format!("/{i:06}"), "1", Expected::Absent));
        writing.await.expect("writes");
    }
    let mut seen = 0;
    let end = loop {
        match watch.next().await {
            Ok(_) => seen += 1,
            Err(end) => break end,
        }
    };
    assert_eq!((seen, end), (MAX_QUEUED_EVENTS, WatchEnd::TooSlow));
}

async fn keys_expire(store: Arc<dyn Store>) {
    let mut watch = store.watch("/", store.progress()).expect("watches");
    let brief = Put {
        time_to_live: Some(Duration::from_millis(30)),
        ..put("/a", "1", Expected::Absent)
    };
    let first = written(&*store, brief.clone()).await;
    let kept = Put {
        key: "/b".to_owned(),
        ..brief
    };
    let before = written(&*store, kept).await;
    written(&*store, put("/b", "2", Expected::Modified(before))).await;
    let gone = async {
        // Any operation may be the one that notices.
        while store.get("/a", None).await.expect("reads").0.is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone)
        .await
        .expect("expires");
    assert!(store.get("/b", None).await.expect("reads").0.is_some());
    let mut last = watch.next().await.expect("an event");
    while last.kind != EventKind::Deleted {
        last = watch.next().await.expect("an event");
    }
    assert_eq!((last.key(), last.current.modified), ("/a", first));
}

async fn too_large_values_are_refused(store: Arc<dyn Store>) {
    let value = "x".repeat(crate::MAX_VALUE_BYTES + 1);
    let refused = store.put(put("/a", &value, Expected::Absent)).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
}

async fn concurrent_increments_lose_nothing(store: Arc<dyn Store>) {
    written(&*store, put("/n", "0", Expected::Absent)).await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for _ in 0..10 {
                    increment(&*store).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("runs");
    }
    let (found, _) = store.get("/n", None).await.expect("reads");
    assert_eq!(&found.expect("is there").value[..], b"80");
}

async fn increment(store: &dyn Store) {
    let (mut found, _) = store.get("/n", None).await.expect("reads");
    loop {
        let now = found.expect("is there");
        let number: u64 = std::str::from_utf8(&now.value)
            .ok()
            .and_then(|t| t.parse().ok())
            .expect("a number");
        let next = put(
            "/n",
            &(number + 1).to_string(),
            Expected::Modified(now.modified),
        );
        match store.put(next).await.expect("answers") {
            Outcome::Written(_) => return,
            Outcome::Conflict(current) => found = current,
        }
    }
}
