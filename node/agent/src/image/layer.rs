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

/// How a layer is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// For an image that never leaves the machine: compressing would only cost time.
    None,
    Gzip,
}

/// A layer that has been read once: where it stands in an image, and what it is made of.
pub(crate) struct Layer {
    entries: Vec<Entry>,
    compression: Compression,
    /// Of the stored form.
    pub(crate) blob: Blob,
    /// Of the tar, whatever it is stored as: an image's configuration names its layers by it.
    pub(crate) diff_id: String,
}

impl Layer {
    /// Reads every file once, for the digests.
    pub(crate) fn measure(entries: Vec<Entry>, compression: Compression) -> io::Result<Self> {
        let (mut stored, mut plain) = (Digest::new(), Digest::new());
        match compression {
            Compression::None => tar(&entries, buffered(&mut plain))?,
            Compression::Gzip => {
                let mut encoder = gzip(&mut stored);
                tar(&entries, buffered(Both(&mut encoder, &mut plain)))?;
                encoder.finish()?;
            }
        }
        let plain = plain.finish();
        Ok(Layer {
            entries,
            compression,
            diff_id: plain.digest.clone(),
            blob: match compression {
                Compression::None => plain,
                Compression::Gzip => stored.finish(),
            },
        })
    }

    /// Writes the stored form; the bytes that were measured, if no file has changed since.
    pub(crate) fn write(&self, out: impl Write) -> io::Result<()> {
        match self.compression {
            Compression::None => tar(&self.entries, buffered(out)),
            Compression::Gzip => {
                let mut encoder = gzip(buffered(out));
                tar(&self.entries, buffered(&mut encoder))?;
                encoder.finish()?.flush()
            }
        }
    }

    pub(crate) fn media_type(&self) -> &'static str {
        match self.compression {
            Compression::None => "application/vnd.oci.image.layer.v1.tar",
            Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
        }
    }
}

fn tar(entries: &[Entry], mut out: impl Write) -> io::Result<()> {
    write(entries, &mut out)?;
    out.flush()
}

fn buffered<W: Write>(out: W) -> io::BufWriter<W> {
    io::BufWriter::with_capacity(CHUNK, out)
}

/// Without a name and a time in its head, so that two builds are the same.
fn gzip<W: Write>(out: W) -> flate2::write::GzEncoder<W> {
    flate2::write::GzEncoder::new(out, flate2::Compression::default())
}

fn write(entries: &[Entry], out: impl Write) -> io::Result<()> {
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

impl Write for Digest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.add(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The same bytes to two places.
struct Both<'a, A, B>(&'a mut A, &'a mut B);

impl<A: Write, B: Write> Write for Both<'_, A, B> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(bytes)?;
        self.1.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()?;
        self.1.flush()
    }
}

/// One write of a layer into its digest, bytes: large enough that the hash, not the copying, sets the pace.
const CHUNK: usize = 1 << 20;
