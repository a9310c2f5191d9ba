//! What there is to check: the workspace's crates and files.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{Metadata, MetadataCommand};

use crate::source::Source;

/// The whole repository.
pub(crate) struct House {
    pub(crate) root: PathBuf,
    pub(crate) metadata: Metadata,
    /// Every text file by its path below the root, build output left out.
    pub(crate) files: BTreeMap<String, String>,
}

/// One thing that is not as it should be.
pub(crate) struct Fault {
    pub(crate) file: String,
    pub(crate) what: String,
    pub(crate) fix: &'static str,
}

impl Fault {
    pub(crate) fn new(file: &str, what: impl Into<String>, fix: &'static str) -> Self {
        Self {
            file: file.to_owned(),
            what: what.into(),
            fix,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {} ({})", self.file, self.what, self.fix)
    }
}

impl House {
    pub(crate) fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let root = root.canonicalize().expect("the workspace's root");
        let metadata = MetadataCommand::new()
            .manifest_path(root.join("Cargo.toml"))
            .other_options(vec!["--locked".to_owned()])
            .exec()
            .expect("cargo metadata");
        let mut files = BTreeMap::new();
        collect(&root, &root, &mut files);
        Self {
            root,
            metadata,
            files,
        }
    }

    /// Rust files written by hand, stripped for scanning.
    pub(crate) fn sources(&self) -> impl Iterator<Item = Source<'_>> {
        let rust = self.files.iter().filter(|(path, _)| path.ends_with(".rs"));
        rust.filter(|(path, _)| !is_generated(path))
            .map(|(path, text)| Source::new(path, text))
    }

    /// Directories of the members below the root, by package name; the root package's is empty.
    pub(crate) fn members(&self) -> BTreeMap<String, String> {
        let packages = self.metadata.workspace_packages();
        packages
            .iter()
            .map(|package| {
                let directory = package
                    .manifest_path
                    .parent()
                    .expect("a file has a directory");
                let below = directory.as_std_path().strip_prefix(&self.root);
                let below = below
                    .expect("members lie below the root")
                    .display()
                    .to_string();
                (package.name.to_string(), below)
            })
            .collect()
    }
}

/// Whether `path` was written by a program.
pub(crate) fn is_generated(path: &str) -> bool {
    path.split('/').any(|part| part == "generated")
}

fn collect(root: &Path, directory: &Path, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory)
        .expect("directories are readable")
        .flatten()
    {
        let path = entry.path();
        let name = entry.file_name();
        if NOT_OURS.iter().any(|skipped| name == *skipped) {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, files);
            continue;
        }
        // What is not UTF-8 is data, not text.
        if let Ok(text) = fs::read_to_string(&path) {
            let below = path.strip_prefix(root).expect("found below the root");
            files.insert(below.display().to_string(), text);
        }
    }
}

const NOT_OURS: &[&str] = &["target", ".git", "dist", "node_modules"];
