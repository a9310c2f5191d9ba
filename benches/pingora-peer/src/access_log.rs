//! The access log: one line per request in ingress-nginx's default format, written in blocks of 64 KiB.

use std::{
    fmt::Arguments,
    fs::File,
    io::{self, BufWriter, Write},
    sync::{Mutex, PoisonError},
};

pub struct AccessLog {
    file: Mutex<BufWriter<File>>,
}

impl AccessLog {
    pub fn create(path: &str) -> io::Result<Self> {
        let file = BufWriter::with_capacity(BUFFER_BYTES, File::create(path)?);
        Ok(Self {
            file: Mutex::new(file),
        })
    }

    /// A line that cannot be written is dropped: a full disk must not stop traffic.
    pub fn write(&self, line: Arguments<'_>) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = file.write_fmt(line);
    }
}

/// As the nginx peer's `buffer=64k`.
const BUFFER_BYTES: usize = 64 * 1024;
