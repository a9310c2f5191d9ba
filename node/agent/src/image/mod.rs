//! OCI images assembled from an executable of this machine and the shared libraries it needs.
//!
//! No registry is asked. What the node imports itself is not compressed, and its images share both layers, so that each
//! further one costs a few hundred bytes; what is made to be given away is compressed, and leaves room for other platforms.

mod contents;
mod layer;
mod libraries;

use crate::error::{Error, Result};
use layer::{Blob, Entry, Layer};
use serde_json::json;
use std::io::{self, Write};
use std::path::Path;

pub(crate) use contents::Contents;
pub use layer::Compression;

/// An image to assemble: its name and what it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// With tag, such as `portcullis.dev/echo:1`.
    pub name: String,
    /// Arguments after the executable.
    pub arguments: Vec<String>,
}

/// Writes one image as an OCI archive: an index with this machine's platform. The image's digest.
///
/// # Errors
/// [`Error`] when the executable or its libraries cannot be read, or `out` cannot be written; then there is no `out`.
pub fn build(
    executable: &Path,
    image: &Image,
    compression: Compression,
    out: &Path,
) -> Result<String> {
    let archive = Archive::read(executable, std::slice::from_ref(image), compression)?;
    let fresh = out.with_added_extension("new");
    let write = || {
        let mut file = io::BufWriter::new(std::fs::File::create(&fresh)?);
        archive.write(&mut file)?;
        file.flush()?;
        std::fs::rename(&fresh, out)
    };
    if let Err(error) = write() {
        let _ = std::fs::remove_file(&fresh);
        return Err(Error::file(out)(error));
    }
    let index = archive.images.first().map(|image| image.index.as_slice());
    Ok(layer::blob(index.unwrap_or_default()).digest)
}

/// Images ready to be written out as one OCI archive.
pub(crate) struct Archive {
    layers: Vec<Layer>,
    images: Vec<Assembled>,
}

struct Assembled {
    name: String,
    config: Vec<u8>,
    manifest: Vec<u8>,
    /// One manifest per platform; another machine's joins it by a second entry.
    index: Vec<u8>,
}

impl Archive {
    /// Reads and hashes the executable and its libraries; blocks for as long as that takes.
    pub(crate) fn assemble(executable: &Path, images: &[Image]) -> Result<Self> {
        Self::read(executable, images, Compression::None)
    }

    fn read(executable: &Path, images: &[Image], compression: Compression) -> Result<Self> {
        let libraries = libraries::needed(executable)?;
        let contents = [base(&libraries), vec![copy(PROGRAM, executable)]];
        let measured = contents
            .into_iter()
            .map(|entries| Layer::measure(entries, compression));
        let layers: Vec<_> = measured
            .collect::<io::Result<_>>()
            .map_err(Error::file(executable))?;
        let assembled = images.iter().map(|image| assemble(image, &layers));
        Ok(Archive {
            images: assembled.collect(),
            layers,
        })
    }

    /// Image names with the digest of their configuration, which is the id a runtime gives them.
    pub(crate) fn ids(&self) -> impl Iterator<Item = (&str, String)> {
        self.images
            .iter()
            .map(|image| (image.name.as_str(), layer::blob(&image.config).digest))
    }

    /// Writes the OCI layout as a tar stream.
    pub(crate) fn write(&self, out: impl Write) -> io::Result<()> {
        let mut tar = tar::Builder::new(out);
        let small = |tar: &mut tar::Builder<_>, path: &str, content: &[u8]| {
            layer::append(tar, path, content.len() as u64, content)
        };
        small(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        for image in &self.images {
            for content in [&image.config, &image.manifest, &image.index] {
                small(&mut tar, &blob_path(&layer::blob(content)), content)?;
            }
        }
        small(&mut tar, "index.json", &self.index())?;
        for measured in &self.layers {
            // A tar needs the size first and the size is known, so the layer streams through a pipe, never whole in memory.
            let (reader, writer) = io::pipe()?;
            std::thread::scope(|scope| {
                let filler = scope.spawn(|| measured.write(writer));
                let blob = &measured.blob;
                layer::append(&mut tar, &blob_path(blob), blob.size, reader)?;
                filler
                    .join()
                    .map_err(|_| io::Error::other("the layer writer panicked"))?
            })?;
        }
        tar.finish()
    }

    fn index(&self) -> Vec<u8> {
        let manifests = self.images.iter().map(|image| {
            let mut descriptor = descriptor(INDEX, &layer::blob(&image.index));
            descriptor["annotations"] = json!({
                "io.containerd.image.name": image.name,
                "org.opencontainers.image.ref.name": image.name.rsplit(':').next(),
            });
            descriptor
        });
        index(manifests.collect())
    }
}

fn assemble(image: &Image, layers: &[Layer]) -> Assembled {
    let entrypoint: Vec<_> = std::iter::once(format!("/{PROGRAM}"))
        .chain(image.arguments.iter().cloned())
        .collect();
    let digests: Vec<_> = layers.iter().map(|layer| &layer.diff_id).collect();
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {"Entrypoint": entrypoint, "User": USER, "WorkingDir": "/", "Env": ["PATH=/"]},
        "rootfs": {"type": "layers", "diff_ids": digests},
    });
    let config = config.to_string().into_bytes();
    let layers = layers
        .iter()
        .map(|layer| descriptor(layer.media_type(), &layer.blob));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &layer::blob(&config)),
        "layers": layers.collect::<Vec<_>>(),
    });
    let manifest = manifest.to_string().into_bytes();
    let mut platform = descriptor(MANIFEST, &layer::blob(&manifest));
    platform["platform"] = json!({"architecture": architecture(), "os": "linux"});
    Assembled {
        name: image.name.clone(),
        config,
        manifest,
        index: index(vec![platform]),
    }
}

fn index(manifests: Vec<serde_json::Value>) -> Vec<u8> {
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
        .to_string()
        .into_bytes()
}

/// Libraries, the few files that C libraries look for, and mount points.
fn base(libraries: &[libraries::Library]) -> Vec<Entry> {
    let mut directories = vec!["etc".to_owned(), "proc".into(), "sys".into(), "dev".into()];
    for library in libraries {
        directories.extend(layer::parents(Path::new(&library.path)));
    }
    directories.sort();
    directories.dedup();
    let mut entries: Vec<_> = directories
        .into_iter()
        .map(|path| Entry::Directory { path, mode: 0o755 })
        .collect();
    entries.push(Entry::Directory {
        path: "tmp".into(),
        mode: 0o1777,
    });
    let users = "root:x:0:0:root:/:/\nnonroot:x:65532:65532:nonroot:/:/\n";
    entries.push(Entry::Text {
        path: "etc/passwd".into(),
        content: users.into(),
    });
    entries.push(Entry::Text {
        path: "etc/group".into(),
        content: "root:x:0:\nnonroot:x:65532:\n".into(),
    });
    entries.push(Entry::Text {
        path: "etc/nsswitch.conf".into(),
        content: "hosts: files dns\n".into(),
    });
    entries.extend(
        libraries
            .iter()
            .map(|library| copy(&library.path, &library.from)),
    );
    entries
}

fn copy(path: &str, from: &Path) -> Entry {
    Entry::Copy {
        path: path.into(),
        from: from.into(),
        mode: 0o755,
    }
}

fn descriptor(media_type: &str, blob: &Blob) -> serde_json::Value {
    json!({"mediaType": media_type, "digest": blob.digest, "size": blob.size})
}

fn blob_path(blob: &Blob) -> String {
    format!("blobs/{}", blob.digest.replace(':', "/"))
}

/// This machine's architecture in OCI's words.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

const PROGRAM: &str = "portcullis";
/// By number, so that `runAsNonRoot` can be checked.
const USER: &str = "65532:65532";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

#[cfg(test)]
mod tests;
