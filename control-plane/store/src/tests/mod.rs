//! One suite, run on both stores; a property test that they agree; crashes of the one on disk.

mod agreement;
mod crash;
mod faults;
mod suite;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::{Expected, Outcome, Put, RedbConfig, RedbStore, Revision, Store};

fn put(key: &str, value: &str, expected: Expected) -> Put {
    Put {
        key: key.to_owned(),
        value: Bytes::copy_from_slice(value.as_bytes()),
        expected,
        time_to_live: None,
    }
}

async fn written(store: &dyn Store, put: Put) -> Revision {
    match store.put(put).await {
        Ok(Outcome::Written(revision)) => revision,
        other => panic!("not written: {other:?}"),
    }
}

fn on_disk(folder: &tempfile::TempDir) -> Arc<RedbStore> {
    let config = RedbConfig {
        expire_every: Duration::from_millis(20),
        ..RedbConfig::default()
    };
    Arc::new(RedbStore::open(&folder.path().join("state.redb"), config).expect("opens"))
}
