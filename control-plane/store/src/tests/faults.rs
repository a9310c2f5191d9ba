//! A disk that fails, a writer that panics: callers and watchers hear of it.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use ::redb::backends::InMemoryBackend;
use ::redb::{Builder, StorageBackend};

use super::{put, written};
use crate::{Expected, RedbConfig, RedbStore, Store, StoreError, WatchEnd};

#[derive(Debug, Clone, Copy)]
enum Fault {
    Error,
    Panic,
}

/// A disk whose next writes meet a fault.
#[derive(Debug, Clone)]
struct Disk {
    memory: Arc<InMemoryBackend>,
    fault: Arc<Mutex<Option<Fault>>>,
}

impl Disk {
    fn open() -> (RedbStore, Self) {
        let disk = Self {
            memory: Arc::new(InMemoryBackend::new()),
            fault: Arc::default(),
        };
        let database = Builder::new()
            .create_with_backend(disk.clone())
            .expect("opens");
        let store = RedbStore::start(database, PathBuf::from("disk"), RedbConfig::default());
        (store.expect("starts"), disk)
    }

    fn set(&self, fault: Option<Fault>) {
        *self.fault.lock().expect("unpoisoned") = fault;
    }

    fn meet(&self) -> io::Result<()> {
        let fault = *self.fault.lock().expect("unpoisoned");
        match fault {
            None => Ok(()),
            Some(Fault::Error) => Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::Panic) => {
                // Once: what cleans up behind the panic must not meet it again.
                self.set(None);
                panic!("wanted by the test")
            }
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.memory.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.memory.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.meet()?;
        self.memory.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.meet()?;
        self.memory.write(offset, data)
    }
}

#[tokio::test]
async fn a_failed_disk_ends_watches_and_every_later_write() {
    let (store, disk) = Disk::open();
    written(&store, put("/a", "1", Expected::Absent)).await;
    let mut watch = store.watch("/", store.progress()).expect("begins");
    assert!(store.healthy());
    disk.set(Some(Fault::Error));
    let failed = store.put(put("/b", "1", Expected::Absent)).await;
    assert!(
        matches!(failed, Err(StoreError::Failed { .. })),
        "{failed:?}"
    );
    assert_eq!(watch.next().await.err(), Some(WatchEnd::Closed));
    assert!(!store.healthy());
    // The database does not trust a disk that failed once.
    disk.set(None);
    let refused = store.put(put("/b", "1", Expected::Absent)).await;
    assert_eq!(refused, failed);
}

#[tokio::test]
async fn a_writer_that_panics_ends_watches_and_every_later_write() {
    let (store, disk) = Disk::open();
    let mut watch = store.watch("/", store.progress()).expect("begins");
    disk.set(Some(Fault::Panic));
    let lost = store.put(put("/a", "1", Expected::Absent)).await;
    assert_eq!(lost, Err(StoreError::Closed));
    assert_eq!(watch.next().await.err(), Some(WatchEnd::Closed));
    assert!(!store.healthy());
    let refused = store.put(put("/a", "1", Expected::Absent)).await;
    assert_eq!(refused, Err(StoreError::Closed));
}
