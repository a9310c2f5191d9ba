//! What an image archive says about itself, read before anything is given to a runtime.

use crate::error::{Error, Result};
use serde_json::Value;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

/// The images of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contents {
    /// With their tags, as the archive has them.
    pub(crate) names: Vec<String>,
}

impl Contents {
    /// Looks for the index of an OCI layout or the manifest of `docker save`.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let file = Self::open(path).map_err(Error::file(path))?;
        let refused = |reason: String| Error::Archive {
            path: path.to_owned(),
            reason,
        };
        // What the reader says quotes the file.
        let unreadable = |_: io::Error| refused("it is no tar file, or it is cut off".into());
        let mut names = None;
        let mut archive = tar::Archive::new(file);
        for entry in archive.entries().map_err(unreadable)? {
            let mut entry = entry.map_err(unreadable)?;
            let entry_path = entry.path().map_err(unreadable)?.into_owned();
            let found = match entry_path
                .strip_prefix("./")
                .unwrap_or(&entry_path)
                .to_str()
            {
                Some("index.json") => of_index,
                Some("manifest.json") => of_docker,
                _ => continue,
            };
            let mut text = String::new();
            let read = (&mut entry).take(LARGEST_INDEX).read_to_string(&mut text);
            read.map_err(unreadable)?;
            let json: Value = serde_json::from_str(&text).map_err(|error| {
                refused(format!("its {} is none ({error})", entry_path.display()))
            })?;
            // An archive for both kinds of reader is imported by its index.
            let found = found(&json);
            if names.as_ref().is_none_or(Vec::is_empty) || entry_path.ends_with("index.json") {
                names = Some(found);
            }
        }
        match names {
            None => Err(refused(
                "it holds neither index.json nor manifest.json".into(),
            )),
            Some(names) if names.is_empty() => Err(refused("its images have no names".into())),
            Some(names) => Ok(Contents { names }),
        }
    }

    /// The tar inside, unpacked if the file is compressed.
    pub(crate) fn open(path: &Path) -> io::Result<Box<dyn Read + Send>> {
        let mut file = File::open(path)?;
        let mut head = Vec::new();
        file.by_ref().take(2).read_to_end(&mut head)?;
        file.rewind()?;
        let file = BufReader::with_capacity(BUFFER, file);
        Ok(match head == GZIP {
            true => Box::new(flate2::read::GzDecoder::new(file)),
            false => Box::new(file),
        })
    }
}

/// containerd takes its own annotation, else a reference that is more than a tag.
fn of_index(index: &Value) -> Vec<String> {
    let manifests = index["manifests"].as_array().into_iter().flatten();
    let names = manifests.filter_map(|manifest| {
        let annotation = |name: &str| manifest["annotations"][name].as_str();
        let reference = annotation("org.opencontainers.image.ref.name");
        let whole = reference.filter(|reference| reference.contains(['/', ':', '@']));
        annotation("io.containerd.image.name").or(whole)
    });
    names.map(str::to_owned).collect()
}

fn of_docker(manifest: &Value) -> Vec<String> {
    let images = manifest.as_array().into_iter().flatten();
    let tags = images.flat_map(|image| image["RepoTags"].as_array().into_iter().flatten());
    tags.filter_map(|tag| tag.as_str().map(str::to_owned))
        .collect()
}

/// Bytes of an index that are read; a larger one is cut and then no JSON. Real ones have a few hundred.
const LARGEST_INDEX: u64 = 4 << 20;
const BUFFER: usize = 1 << 20;
const GZIP: [u8; 2] = [0x1f, 0x8b];

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn archive(files: &[(&str, &str)]) -> tempfile::NamedTempFile {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, path, content.as_bytes())
                .unwrap();
        }
        holding(&tar.into_inner().unwrap())
    }

    fn holding(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn names(file: &tempfile::NamedTempFile) -> Vec<String> {
        Contents::read(file.path()).unwrap().names
    }

    #[test]
    fn names_are_found_in_both_kinds_of_archive() {
        let own = r#"{"manifests": [{"annotations": {"io.containerd.image.name": "a/b:1"}}]}"#;
        let whole =
            r#"{"manifests": [{"annotations": {"org.opencontainers.image.ref.name": "c/d:2"}}]}"#;
        let docker = r#"[{"RepoTags": ["e:3", "e:4"]}]"#;
        assert_eq!(names(&archive(&[("index.json", own)])), ["a/b:1"]);
        assert_eq!(names(&archive(&[("./index.json", whole)])), ["c/d:2"]);
        assert_eq!(
            names(&archive(&[("manifest.json", docker)])),
            ["e:3", "e:4"]
        );
        let both = [("manifest.json", docker), ("index.json", own)];
        assert_eq!(names(&archive(&both)), ["a/b:1"]);
        let both = [("index.json", own), ("manifest.json", docker)];
        assert_eq!(names(&archive(&both)), ["a/b:1"]);
    }

    #[test]
    fn a_compressed_archive_is_read_too() {
        let plain = archive(&[("manifest.json", r#"[{"RepoTags": ["e:3"]}]"#)]);
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder
            .write_all(&std::fs::read(plain.path()).unwrap())
            .unwrap();
        assert_eq!(names(&holding(&encoder.finish().unwrap())), ["e:3"]);
    }

    #[test]
    fn what_is_no_image_archive_is_told_apart() {
        let reason = |file: &tempfile::NamedTempFile| match Contents::read(file.path()) {
            Err(Error::Archive { reason, .. }) => reason,
            other => panic!("{other:?}"),
        };
        let text = holding("apiVersion: v1\n".repeat(100).as_bytes());
        assert!(
            reason(&text).starts_with("it is no tar file"),
            "{}",
            reason(&text)
        );
        let other = archive(&[("readme", "hello")]);
        assert_eq!(
            reason(&other),
            "it holds neither index.json nor manifest.json"
        );
        let tag_only =
            r#"{"manifests": [{"annotations": {"org.opencontainers.image.ref.name": "1"}}]}"#;
        assert_eq!(
            reason(&archive(&[("index.json", tag_only)])),
            "its images have no names"
        );
        assert!(reason(&archive(&[("index.json", "{")])).starts_with("its index.json is none"));
        assert!(matches!(
            Contents::read(Path::new("/nowhere/at/all.tar")),
            Err(Error::File { .. })
        ));
    }
}
