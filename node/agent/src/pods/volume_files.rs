//! Makes a pod's volumes on disk, and takes them away again.

use crate::error::{Error, Result};
use crate::layout::Layout;
use nix::mount::{MsFlags, mount};
use portcullis_pod::volumes::{File, VolumePlan};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::fs::{
    FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, fchown, symlink,
};
use std::path::{Component, Path, PathBuf};

/// Makes or updates one volume; the directory (or host path) that containers mount.
pub(crate) fn make(
    layout: &Layout,
    uid: &str,
    name: &str,
    plan: &VolumePlan,
    group: Option<u32>,
) -> Result<PathBuf> {
    let directory = layout.volume(uid, name);
    match plan {
        VolumePlan::Host { path, kind } => {
            host(Path::new(path), kind)?;
            return Ok(PathBuf::from(path));
        }
        VolumePlan::Empty {
            in_memory,
            size_bytes,
        } => {
            create(&directory)?;
            if *in_memory {
                mount_tmpfs(&directory, *size_bytes)?;
            }
            let mode = if group.is_some() { 0o2777 } else { 0o777 };
            own(&directory, mode, group)?;
        }
        VolumePlan::Files { files, in_memory } => {
            create(&directory)?;
            if *in_memory {
                mount_tmpfs(&directory, None)?;
            }
            own(&directory, 0o755, group)?;
            write_atomically(&directory, files, group).map_err(Error::file(&directory))?;
        }
    }
    Ok(directory)
}

/// Unmounts and removes everything of a pod but its logs.
pub(crate) fn remove(layout: &Layout, uid: &str) -> Result<()> {
    let directory = layout.pod(uid);
    crate::containerd::unmount_below(&directory);
    // Below a mount that stayed may be files of the host.
    if let Some(mounted) = crate::containerd::mounts_below(&directory).first() {
        let busy = std::io::Error::from(std::io::ErrorKind::ResourceBusy);
        return Err(Error::file(mounted)(busy));
    }
    match std::fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file(&directory)(error))
        }
        _ => Ok(()),
    }
}

/// The files appear under `..data`, a link to a directory that is never changed; an update is one rename of that link.
fn write_atomically(
    directory: &Path,
    files: &BTreeMap<String, File>,
    group: Option<u32>,
) -> std::io::Result<()> {
    let data = directory.join("..data");
    let current = current(directory);
    if current
        .as_ref()
        .is_some_and(|current| holds(current, files))
    {
        return Ok(());
    }
    let stamp = format!(
        "..{}",
        jiff::Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S.%9f")
    );
    let fresh = directory.join(&stamp);
    std::fs::create_dir(&fresh)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755))?;
    for (path, file) in files {
        let target = fresh.join(path);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
        }
        write_file(&target, file, group)?;
    }
    let next = directory.join("..data_tmp");
    let _ = std::fs::remove_file(&next);
    symlink(&stamp, &next)?;
    std::fs::rename(&next, &data)?;
    link_names(directory, files)?;
    if let Some(former) = current {
        std::fs::remove_dir_all(former)?;
    }
    Ok(())
}

/// Nobody else's at any moment: it may be a secret.
fn write_file(target: &Path, file: &File, group: Option<u32>) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut opened = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(target)?;
    opened.write_all(&file.content)?;
    if file.owner.is_some() || group.is_some() {
        fchown(&opened, file.owner, group)?;
    }
    let mode = if group.is_some() {
        file.mode | 0o440
    } else {
        file.mode
    };
    opened.set_permissions(std::fs::Permissions::from_mode(mode))
}

/// Where `..data` leads, if the link is one of ours: whoever could write here may have put another in its place.
fn current(directory: &Path) -> Option<PathBuf> {
    let target = std::fs::read_link(directory.join("..data")).ok()?;
    let mut parts = target.components();
    let (Some(Component::Normal(name)), None) = (parts.next(), parts.next()) else {
        return None;
    };
    let path = directory.join(name);
    let is_ours = name.as_encoded_bytes().starts_with(b"..")
        && std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
    is_ours.then_some(path)
}

fn link_names(directory: &Path, files: &BTreeMap<String, File>) -> std::io::Result<()> {
    let names: BTreeSet<_> = files
        .keys()
        .filter_map(|path| path.split('/').next())
        .collect();
    for name in &names {
        let link = directory.join(name);
        if std::fs::symlink_metadata(&link).is_err() {
            symlink(Path::new("..data").join(name), link)?;
        }
    }
    for entry in std::fs::read_dir(directory)?.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !names.contains(name.as_ref()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn holds(directory: &Path, files: &BTreeMap<String, File>) -> bool {
    let same = |(path, file): (&String, &File)| {
        std::fs::read(directory.join(path)).is_ok_and(|content| content == file.content)
    };
    files.iter().all(same) && count(directory) == files.len()
}

fn count(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                count(&entry.path())
            } else {
                1
            }
        })
        .sum()
}

fn host(path: &Path, kind: &str) -> Result<()> {
    match kind {
        "DirectoryOrCreate" if !path.exists() => return create(path),
        "FileOrCreate" if !path.exists() => {
            return std::fs::write(path, "").map_err(Error::file(path));
        }
        _ => {}
    }
    if kind.is_empty() {
        return Ok(());
    }
    let found = std::fs::metadata(path)
        .map_err(Error::file(path))?
        .file_type();
    let fits = match kind {
        "Directory" | "DirectoryOrCreate" => found.is_dir(),
        "File" | "FileOrCreate" => found.is_file(),
        "Socket" => found.is_socket(),
        "CharDevice" => found.is_char_device(),
        "BlockDevice" => found.is_block_device(),
        _ => false,
    };
    let other = || {
        Error::file(path)(std::io::Error::other(format!(
            "the hostPath is not a {kind}"
        )))
    };
    if fits { Ok(()) } else { Err(other()) }
}

fn create(directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory).map_err(Error::file(directory))
}

fn own(directory: &Path, mode: u32, group: Option<u32>) -> Result<()> {
    if group.is_some() {
        chown(directory, None, group).map_err(Error::file(directory))?;
    }
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(mode))
        .map_err(Error::file(directory))
}

/// Once only: after a restart of the node the mount is still there.
fn mount_tmpfs(directory: &Path, size_bytes: Option<u64>) -> Result<()> {
    let device = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.dev());
    if device(directory).ok() != directory.parent().and_then(|parent| device(parent).ok()) {
        return Ok(());
    }
    let options = size_bytes.map(|size| format!("size={size}"));
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let mounted = mount(
        Some("tmpfs"),
        directory,
        Some("tmpfs"),
        flags,
        options.as_deref(),
    );
    mounted.map_err(|error| Error::file(directory)(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(entries: &[(&str, &str)]) -> BTreeMap<String, File> {
        let file = |content: &str| File {
            content: content.as_bytes().to_vec(),
            mode: 0o644,
            owner: None,
        };
        entries
            .iter()
            .map(|(path, content)| ((*path).to_owned(), file(content)))
            .collect()
    }

    #[test]
    fn an_update_moves_one_link_and_drops_what_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
        write_atomically(
            directory.path(),
            &files(&[("a", "1"), ("deep/b", "2")]),
            None,
        )
        .unwrap();
        assert_eq!((read("a"), read("deep/b")), ("1".into(), "2".into()));
        let before = std::fs::read_link(directory.path().join("..data")).unwrap();
        write_atomically(
            directory.path(),
            &files(&[("a", "1"), ("deep/b", "2")]),
            None,
        )
        .unwrap();
        assert_eq!(
            std::fs::read_link(directory.path().join("..data")).unwrap(),
            before,
            "nothing changed, nothing moved"
        );
        write_atomically(directory.path(), &files(&[("a", "3")]), None).unwrap();
        assert_eq!(read("a"), "3");
        assert!(!directory.path().join("deep").exists());
        assert!(!directory.path().join(before).exists());
    }

    #[test]
    fn a_link_that_is_not_ours_is_replaced_and_never_followed() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("kept"), "x").unwrap();
        let foreign = outside.path().display().to_string();
        for target in [foreign.as_str(), "..", "../outside", "..alias", "named"] {
            let volume = tempfile::tempdir().unwrap();
            let directory = volume.path();
            symlink(&foreign, directory.join("..alias")).unwrap();
            symlink(&foreign, directory.join("named")).unwrap();
            symlink(target, directory.join("..data")).unwrap();
            write_atomically(directory, &files(&[("a", "1")]), None).unwrap();
            assert!(outside.path().join("kept").exists(), "{target}");
            assert_eq!(std::fs::read_to_string(directory.join("a")).unwrap(), "1");
        }
    }
}
