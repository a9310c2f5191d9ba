//! The last set in a file: written aside and renamed, readable by nobody else.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use portcullis_wire::{UnitSet, load, save};
use tokio::{sync::watch, task::spawn_blocking, time::sleep};
use tracing::{info, warn};

pub(super) struct Keeper {
    file: Option<PathBuf>,
    last: watch::Sender<Option<Arc<UnitSet>>>,
    is_writing: bool,
}

/// A set from the file.
pub(super) struct Kept {
    pub units: UnitSet,
    pub was_current_at: SystemTime,
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
    pub(super) async fn read(&self) -> Option<Kept> {
        let path = self.file.clone()?;
        let shown = path.display().to_string();
        let read = move || Ok((fs::read(&path)?, fs::metadata(&path)?.modified()?));
        let (bytes, was_current_at) = match spawn_blocking(read).await.ok()? {
            Ok(read) => read,
            Err(error) if io::Error::kind(&error) == io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn!(file = %shown, %error, "cannot read the stored set");
                return None;
            }
        };
        match load(&bytes) {
            Ok(units) => {
                info!(file = %shown, units = units.len(), "read the stored set");
                Some(Kept {
                    units,
                    was_current_at,
                })
            }
            Err(error) => {
                warn!(file = %shown, %error, "cannot use the stored set");
                None
            }
        }
    }

    /// Notes that the set in the file was current at `now`: the file's time says so, for its content need not change.
    pub(super) fn confirm(&self, now: SystemTime) {
        let Some(file) = self.file.clone() else {
            return;
        };
        spawn_blocking(move || {
            let touched = OpenOptions::new().write(true).open(&file);
            let touched = touched.and_then(|file| file.set_modified(now));
            match touched {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    warn!(file = %file.display(), %error, "cannot mark the kept set as current");
                }
                _ => {}
            }
        });
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
