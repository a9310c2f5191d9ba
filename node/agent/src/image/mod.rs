//! OCI images assembled from an executable of this machine and the shared libraries it needs.
//!
//! No registry is asked and nothing is compressed: both images share both layers, so the second costs a few hundred bytes.

mod layer;
mod libraries;

use crate::error::{Error, Result};
use layer::{Blob, Entry};
use serde_json::json;
use std::io::{self, Write};
use std::path::Path;

/// An image to assemble: its name and what it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// With tag, such as `portcullis.dev/echo:1`.
    pub name: String,
    /// Arguments after the executable.
    pub arguments: Vec<String>,
}

/// Images ready to be written out as one OCI archive.
pub(crate) struct Archive {
    layers: Vec<(Blob, Vec<Entry>)>,
    images: Vec<Assembled>,
}

struct Assembled {
    name: String,
    config: Vec<u8>,
    manifest: Vec<u8>,
}

impl Archive {
    /// Reads and hashes the executable and its libraries; blocks for as long as that takes.
    pub(crate) fn assemble(executable: &Path, images: &[Image]) -> Result<Self> {
        let failed = || Error::file(executable);
        let libraries = libraries::needed(executable)?;
        let contents = [base(&libraries), vec![copy(PROGRAM, executable)]];
        let measured = contents
            .into_iter()
            .map(|entries| Ok((layer::measure(&entries)?, entries)));
        let layers: Vec<_> = measured.collect::<io::Result<_>>().map_err(failed())?;
        let blobs: Vec<_> = layers.iter().map(|(blob, _)| blob.clone()).collect();
        let images = images.iter().map(|image| assemble(image, &blobs)).collect();
        Ok(Archive { layers, images })
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
            for content in [&image.config, &image.manifest] {
                small(&mut tar, &blob_path(&layer::blob(content)), content)?;
            }
        }
        small(&mut tar, "index.json", &self.index())?;
        for (blob, entries) in &self.layers {
            // A tar needs the size first and the size is known, so the layer streams through a pipe, never whole in memory.
            let (reader, writer) = io::pipe()?;
            std::thread::scope(|scope| {
                let filler = scope.spawn(|| {
                    layer::write(entries, io::BufWriter::with_capacity(PIPE_BUFFER, writer))
                });
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
            let mut descriptor = descriptor(
                "application/vnd.oci.image.manifest.v1+json",
                &layer::blob(&image.manifest),
            );
            descriptor["platform"] = json!({"architecture": architecture(), "os": "linux"});
            descriptor["annotations"] = json!({
                "io.containerd.image.name": image.name,
                "org.opencontainers.image.ref.name": image.name.rsplit(':').next(),
            });
            descriptor
        });
        let manifests: Vec<_> = manifests.collect();
        json!({"schemaVersion": 2, "manifests": manifests})
            .to_string()
            .into_bytes()
    }
}

fn assemble(image: &Image, layers: &[Blob]) -> Assembled {
    let entrypoint: Vec<_> = std::iter::once(format!("/{PROGRAM}"))
        .chain(image.arguments.iter().cloned())
        .collect();
    let digests: Vec<_> = layers.iter().map(|layer| &layer.digest).collect();
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {"Entrypoint": entrypoint, "User": USER, "WorkingDir": "/", "Env": ["PATH=/"]},
        "rootfs": {"type": "layers", "diff_ids": digests},
    });
    let config = config.to_string().into_bytes();
    let layers = layers
        .iter()
        .map(|blob| descriptor("application/vnd.oci.image.layer.v1.tar", blob));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &layer::blob(&config)),
        "layers": layers.collect::<Vec<_>>(),
    });
    Assembled {
        name: image.name.clone(),
        config,
        manifest: manifest.to_string().into_bytes(),
    }
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
/// Bytes per write into the pipe: a Linux pipe's default capacity.
const PIPE_BUFFER: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> Vec<Image> {
        ["pause", "echo"]
            .map(|name| Image {
                name: format!("portcullis.dev/{name}:1"),
                arguments: vec![name.into()],
            })
            .to_vec()
    }

    #[test]
    fn two_assemblies_are_byte_for_byte_the_same() {
        let archive = || {
            let archive = Archive::assemble(Path::new("/bin/sh"), &images()).unwrap();
            let mut bytes = Vec::new();
            archive.write(&mut bytes).unwrap();
            bytes
        };
        assert_eq!(archive(), archive());
    }

    #[test]
    fn every_blob_hashes_to_its_name_and_libraries_are_there() {
        let archive = Archive::assemble(Path::new("/bin/sh"), &images()).unwrap();
        let mut bytes = Vec::new();
        archive.write(&mut bytes).unwrap();
        let mut blobs = 0;
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            io::copy(&mut entry, &mut content).unwrap();
            let Some(digest) = path.strip_prefix("blobs/sha256/") else {
                continue;
            };
            assert_eq!(layer::blob(&content).digest, format!("sha256:{digest}"));
            blobs += 1;
        }
        assert_eq!(blobs, 6, "two layers, two configurations, two manifests");
        let names: Vec<_> = libraries::needed(Path::new("/bin/sh"))
            .unwrap()
            .into_iter()
            .map(|library| library.path)
            .collect();
        assert!(
            names.iter().any(|name| name.ends_with("libc.so.6")),
            "{names:?}"
        );
    }
}
