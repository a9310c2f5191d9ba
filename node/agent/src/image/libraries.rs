//! The shared libraries an executable loads, by asking the dynamic loader itself.

use crate::error::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Library {
    /// Inside the image, relative: where the loader looked for it here.
    pub path: String,
    /// On this machine, symbolic links resolved.
    pub from: PathBuf,
}

/// Every library that `ldd` names; none for a static executable.
pub(crate) fn needed(executable: &Path) -> Result<Vec<Library>> {
    let output = Command::new("ldd")
        .arg(executable)
        .env("LC_ALL", "C")
        .output();
    let output = output.map_err(|source| Error::Run {
        program: "ldd".into(),
        source,
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    if text.contains("statically linked")
        || String::from_utf8_lossy(&output.stderr).contains("not a dynamic executable")
    {
        return Ok(Vec::new());
    }
    let mut libraries = Vec::new();
    for line in text.lines() {
        if line.contains("not found") {
            let message = format!("{}: {}", executable.display(), line.trim());
            return Err(Error::Failed {
                program: "ldd".into(),
                message,
            });
        }
        let Some(path) = parse(line) else { continue };
        let from = std::fs::canonicalize(path).map_err(Error::file(path))?;
        libraries.push(Library {
            path: path.trim_start_matches('/').to_owned(),
            from,
        });
    }
    libraries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(libraries)
}

/// `name => /path (0x…)` or `/path (0x…)`; the kernel's own `linux-vdso` has no path.
fn parse(line: &str) -> Option<&str> {
    let target = line.split("=>").last()?.trim();
    target
        .split(" (0x")
        .next()
        .map(str::trim)
        .filter(|path| path.starts_with('/'))
}
