//! Tar layers with nothing in them that differs between two builds of the same input.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// One entry of a layer.
pub(crate) enum Entry {
    Directory {
        path: String,
        mode: u32,
    },
    Text {
        path: String,
        content: String,
    },
    /// A file of this machine, streamed.
    Copy {
        path: String,
        from: PathBuf,
        mode: u32,
    },
}

/// A layer's address in an OCI image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blob {
    pub digest: String,
    pub size: u64,
}

/// Writes the layer as an uncompressed tar: it never leaves the machine, so compressing would only cost time.
pub(crate) fn write(entries: &[Entry], out: impl Write) -> io::Result<()> {
    let mut tar = tar::Builder::new(out);
    for entry in entries {
        match entry {
            Entry::Directory { path, mode } => {
                tar.append_data(
                    &mut header(tar::EntryType::Directory, *mode, 0),
                    format!("{path}/"),
                    io::empty(),
                )?;
            }
            Entry::Text { path, content } => {
                let mut header = header(tar::EntryType::Regular, 0o644, content.len() as u64);
                tar.append_data(&mut header, path, content.as_bytes())?;
            }
            Entry::Copy { path, from, mode } => {
                let file = std::fs::File::open(from)?;
                let size = file.metadata()?.len();
                tar.append_data(
                    &mut header(tar::EntryType::Regular, *mode, size),
                    path,
                    file.take(size),
                )?;
            }
        }
    }
    tar.finish()
}

/// The digest that [`write`] would produce.
pub(crate) fn measure(entries: &[Entry]) -> io::Result<Blob> {
    let mut digest = Digest::new();
    write(entries, io::BufWriter::with_capacity(CHUNK, &mut digest))?;
    Ok(digest.finish())
}

/// The blob that holds these bytes.
pub(crate) fn blob(content: &[u8]) -> Blob {
    let mut digest = Digest::new();
    digest.add(content);
    digest.finish()
}

/// One regular file of an outer tar, with a size known beforehand.
pub(crate) fn append(
    tar: &mut tar::Builder<impl Write>,
    path: &str,
    size: u64,
    content: impl Read,
) -> io::Result<()> {
    tar.append_data(
        &mut header(tar::EntryType::Regular, 0o644, size),
        path,
        content,
    )
}

/// Entries for every directory above `path`, so that no importer has to invent their modes.
pub(crate) fn parents(path: &Path) -> Vec<String> {
    let above = path
        .ancestors()
        .skip(1)
        .map(|parent| parent.display().to_string());
    let mut above: Vec<_> = above.filter(|parent| !parent.is_empty()).collect();
    above.reverse();
    above
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

struct Digest {
    context: aws_lc_rs::digest::Context,
    size: u64,
}

impl Digest {
    fn new() -> Self {
        Digest {
            context: aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256),
            size: 0,
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
        self.size += bytes.len() as u64;
    }

    fn finish(self) -> Blob {
        let hex: String = self
            .context
            .finish()
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Blob {
            digest: format!("sha256:{hex}"),
            size: self.size,
        }
    }
}

impl Write for &mut Digest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.add(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One write of a layer into its digest, bytes: large enough that the hash, not the copying, sets the pace.
const CHUNK: usize = 1 << 20;
