//! Random histories: the store on disk answers as its naive twin does, also after it was closed and opened again.

use std::sync::Arc;

use proptest::prelude::*;

use super::{on_disk, put};
use crate::{
    Event, Expected, KeyValue, List, MemoryStore, Outcome, Revision, Store, StoreError, Watch,
};

#[derive(Debug, Clone)]
enum Step {
    Put {
        key: u8,
        value: u8,
        stale: bool,
    },
    Delete {
        key: u8,
        stale: bool,
    },
    List {
        back: u64,
        from: u8,
        limit: Option<usize>,
    },
    Watch {
        back: u64,
    },
    Compact {
        back: u64,
    },
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let back = 0_u64..12;
    let step = prop_oneof![
        8 => (0_u8..6, any::<u8>(), prop::bool::weighted(0.2))
            .prop_map(|(key, value, stale)| Step::Put { key, value, stale }),
        3 => (0_u8..6, prop::bool::weighted(0.2)).prop_map(|(key, stale)| Step::Delete { key, stale }),
        4 => (back.clone(), 0_u8..6, prop::option::of(0_usize..5))
            .prop_map(|(back, from, limit)| Step::List { back, from, limit }),
        2 => back.clone().prop_map(|back| Step::Watch { back }),
        1 => back.prop_map(|back| Step::Compact { back }),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_store_on_disk_does_as_its_twin(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(run(steps));
    }
}

async fn run(steps: Vec<Step>) {
    let folder = tempfile::tempdir().expect("a folder");
    let twin = MemoryStore::new();
    let mut disk = on_disk(&folder);
    for step in steps {
        if let Step::Reopen = step {
            drop(disk);
            disk = on_disk(&folder);
            continue;
        }
        let expected = answer(&twin, &step).await;
        let found = answer(&*disk, &step).await;
        assert_eq!(found, expected, "{step:?}");
        assert_eq!(disk.progress(), twin.progress());
    }
}

#[derive(Debug, PartialEq)]
enum Answer {
    Outcome(Result<Outcome, StoreError>),
    Page(Result<(Vec<KeyValue>, usize), StoreError>),
    Events(Result<Vec<Arc<Event>>, StoreError>),
    Compacted(Result<(), StoreError>),
}

async fn answer(store: &dyn Store, step: &Step) -> Answer {
    let earlier = |back: &u64| Revision(store.progress().0.saturating_sub(*back).max(1));
    match step {
        Step::Put { key, value, stale } => {
            let name = name(*key);
            let expected = match modified(store, &name).await {
                _ if *stale => Expected::Modified(Revision(1)),
                Some(revision) => Expected::Modified(revision),
                None => Expected::Absent,
            };
            Answer::Outcome(store.put(put(&name, &value.to_string(), expected)).await)
        }
        Step::Delete { key, stale } => {
            let name = name(*key);
            let found = modified(store, &name).await.filter(|_| !*stale);
            Answer::Outcome(store.delete(&name, found.unwrap_or(Revision(1))).await)
        }
        Step::List { back, from, limit } => {
            let page = store
                .list(List {
                    prefix: "/k/",
                    at: Some(earlier(back)),
                    from: &name(*from),
                    limit: *limit,
                })
                .await;
            Answer::Page(page.map(|page| (page.items, page.remaining)))
        }
        Step::Watch { back } => Answer::Events(store.watch("/k/", earlier(back)).map(drained)),
        Step::Compact { back } => Answer::Compacted(store.compact(earlier(back)).await),
        Step::Reopen => unreachable!("handled by the caller"),
    }
}

fn drained(mut watch: Watch) -> Vec<Arc<Event>> {
    let mut events = Vec::new();
    while let Some(event) = watch.try_next().expect("events") {
        events.push(event);
    }
    events
}

async fn modified(store: &dyn Store, key: &str) -> Option<Revision> {
    store
        .get(key, None)
        .await
        .expect("reads")
        .0
        .map(|found| found.modified)
}

fn name(key: u8) -> String {
    format!("/k/{key}")
}
