//! The data directory: made private, and held by one process at a time.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// A data directory that no other process uses while this value lives.
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

#[derive(Debug, Error)]
pub enum DataDirError {
    #[error("data directory {path} cannot be made; name another with --data-dir")]
    Create { path: PathBuf, source: io::Error },
    #[error(
        "data directory {path} is in use by another portcullis; stop it or name another with --data-dir"
    )]
    InUse { path: PathBuf },
    #[error("data directory {path} cannot be locked")]
    Lock { path: PathBuf, source: io::Error },
}

impl DataDir {
    /// Makes the directory (mode 0700: it holds private keys) and takes its lock.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let create = |source| DataDirError::Create {
            path: path.to_owned(),
            source,
        };
        fs::create_dir_all(path).map_err(create)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(create)?;
        let path = path.canonicalize().map_err(create)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .map_err(|source| DataDirError::Lock {
                path: path.clone(),
                source,
            })?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DataDirError::InUse { path }),
            Err(TryLockError::Error(source)) => Err(DataDirError::Lock { path, source }),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_the_next_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        let first = DataDir::open(&path).unwrap();
        assert!(matches!(
            DataDir::open(&path),
            Err(DataDirError::InUse { .. })
        ));
        drop(first);
        assert!(DataDir::open(&path).is_ok());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_file_in_its_place_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        fs::write(&path, "x").unwrap();
        let error = DataDir::open(&path).err().unwrap().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
}
