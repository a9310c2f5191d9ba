//! What was acknowledged survives; what is damaged is refused by name.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use ::redb::{Builder, StorageBackend};

use super::{put, written};
use crate::{Expected, List, RedbConfig, RedbStore, Revision, Store, StoreError};

/// A disk that loses everything after the last sync when the machine stops.
#[derive(Debug, Clone, Default)]
struct Disk {
    written: Arc<Mutex<Vec<u8>>>,
    synced: Arc<Mutex<Vec<u8>>>,
}

impl Disk {
    fn after_power_cut(&self) -> Self {
        let synced = self.synced.lock().expect("unpoisoned").clone();
        Self {
            written: Arc::new(Mutex::new(synced.clone())),
            synced: Arc::new(Mutex::new(synced)),
        }
    }

    fn open(&self) -> RedbStore {
        let database = Builder::new()
            .create_with_backend(self.clone())
            .expect("opens");
        RedbStore::start(database, PathBuf::from("disk"), RedbConfig::default()).expect("starts")
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written.lock().expect("unpoisoned").len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).expect("fits");
        let bytes = self.written.lock().expect("unpoisoned");
        let from = bytes
            .get(start..start + out.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(from);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).expect("fits");
        self.written.lock().expect("unpoisoned").resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let written = self.written.lock().expect("unpoisoned").clone();
        *self.synced.lock().expect("unpoisoned") = written;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let start = usize::try_from(offset).expect("fits");
        self.written.lock().expect("unpoisoned")[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }
}

#[tokio::test]
async fn every_acknowledged_write_survives_a_power_cut_and_revisions_go_on() {
    let mut disk = Disk::default();
    let mut last = Revision(0);
    for round in 0..5 {
        let store = disk.open();
        assert!(store.progress() >= last);
        for i in 0..4 {
            let revision =
                written(&store, put(&format!("/{round}/{i}"), "1", Expected::Absent)).await;
            assert!(revision > last);
            last = revision;
        }
        // The image is taken while the store runs: nothing is flushed by closing it.
        let image = disk.after_power_cut();
        drop(store);
        disk = image;
        let count = disk
            .open()
            .list(List::all("/"))
            .await
            .expect("lists")
            .items
            .len();
        assert_eq!(count, (round + 1) * 4);
    }
}

#[test]
fn a_file_that_is_no_database_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.redb");
    std::fs::write(
        &path,
        b"not a database, long enough to be read as a header ".repeat(200),
    )
    .expect("writes");
    let error = RedbStore::open(&path, RedbConfig::default())
        .err()
        .expect("is refused");
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("state.redb"));
}

#[tokio::test]
async fn damage_anywhere_is_an_error_never_a_panic() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.redb");
    {
        let store = RedbStore::open(&path, RedbConfig::default()).expect("opens");
        for i in 0..20 {
            written(&store, put(&format!("/{i}"), "value", Expected::Absent)).await;
        }
    }
    let whole = std::fs::read(&path).expect("reads");
    for cut in [0, 1, 100, 4096, 5000, whole.len() / 2, whole.len() - 1] {
        if cut == 0 {
            continue;
        }
        std::fs::write(&path, &whole[..cut]).expect("writes");
        assert!(
            RedbStore::open(&path, RedbConfig::default()).is_err(),
            "cut at {cut}"
        );
    }
}

#[test]
fn a_database_in_use_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.redb");
    let _held = RedbStore::open(&path, RedbConfig::default()).expect("opens");
    let error = RedbStore::open(&path, RedbConfig::default())
        .err()
        .expect("is refused");
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
}
