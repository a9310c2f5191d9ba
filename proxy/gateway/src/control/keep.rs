//! The last set in a file: written aside and renamed, readable by nobody else.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use portcullis_wire::{UnitSet, load, save};
use tokio::{sync::watch, task::spawn_blocking, time::sleep};
use tracing::{info, warn};

pub(super) struct Keeper {
    file: Option<PathBuf>,
    last: watch::Sender<Option<Arc<UnitSet>>>,
    is_writing: bool,
}

impl Keeper {
    pub(super) fn new(file: Option<PathBuf>) -> Self {
        Self {
            file,
            last: watch::Sender::default(),
            is_writing: false,
        }
    }

    /// None when nothing is kept, or nothing that can be used: then the proxy waits for a controller.
    pub(super) async fn read(&self) -> Option<UnitSet> {
        let path = self.file.clone()?;
        let shown = path.display().to_string();
        let bytes = match spawn_blocking(move || fs::read(path)).await.ok()? {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn!(file = %shown, %error, "cannot read the stored set");
                return None;
            }
        };
        match load(&bytes) {
            Ok(units) => {
                info!(file = %shown, units = units.len(), "read the stored set");
                Some(units)
            }
            Err(error) => {
                warn!(file = %shown, %error, "cannot use the stored set");
                None
            }
        }
    }

    /// Hands a set over to be written; one that follows soon replaces it.
    pub(super) fn keep(&mut self, units: UnitSet) {
        let Some(file) = &self.file else {
            return;
        };
        self.last.send_replace(Some(Arc::new(units)));
        if !self.is_writing {
            self.is_writing = true;
            tokio::spawn(write_all(file.clone(), self.last.subscribe()));
        }
    }
}

/// Ends with the keeper.
async fn write_all(file: PathBuf, mut sets: watch::Receiver<Option<Arc<UnitSet>>>) {
    loop {
        let units = sets.borrow_and_update().clone();
        if let Some(units) = units {
            let path = file.clone();
            let written = spawn_blocking(move || write(&path, &save(&units))).await;
            if let Ok(Err(error)) = written {
                warn!(file = %file.display(), %error, "cannot keep the set");
            }
        }
        sleep(WRITE_PAUSE).await;
        if sets.changed().await.is_err() {
            return;
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    let aside = PathBuf::from(aside);
    // What a crash left behind may have another mode.
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(OWNER_ONLY)
        .open(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&aside, path)
}

/// It holds private keys.
const OWNER_ONLY: u32 = 0o600;
/// Endpoints may change many times a second; the file need not.
const WRITE_PAUSE: Duration = Duration::from_secs(1);
