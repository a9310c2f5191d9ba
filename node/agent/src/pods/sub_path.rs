//! The host side of a `subPath`: found and made without ever following a link out of the volume.
//!
//! A container that writes to a volume can put a link in it at any moment, also between a check and the mount. So every
//! directory is entered by descriptor with links refused, and what is handed to the runtime is a mount of that descriptor.

use crate::error::{Error, Result};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, mkdirat};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

/// Mounts `sub_path` of `volume`, made where it is missing, at `target` below the pod's own directory.
pub(crate) fn mount_at(volume: &Path, sub_path: &str, target: &Path) -> Result<()> {
    let found = find(volume, sub_path)?;
    let source = by_descriptor(&found);
    // What a former run of the container used; its own mount does not depend on it.
    let _ = umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
    let parent = target.parent().unwrap_or(target);
    std::fs::create_dir_all(parent).map_err(Error::file(parent))?;
    let is_directory = std::fs::metadata(&source).is_ok_and(|found| found.is_dir());
    let made = match std::fs::symlink_metadata(target) {
        Ok(present) if present.is_dir() == is_directory => Ok(()),
        Ok(present) if present.is_dir() => {
            std::fs::remove_dir(target).and_then(|()| std::fs::write(target, ""))
        }
        Ok(_) => std::fs::remove_file(target).and_then(|()| std::fs::create_dir(target)),
        Err(_) if is_directory => std::fs::create_dir(target),
        Err(_) => std::fs::write(target, ""),
    };
    made.map_err(Error::file(target))?;
    let nothing = None::<&str>;
    mount(Some(&source), target, nothing, MsFlags::MS_BIND, nothing)
        .map_err(|error| Error::file(target)(error.into()))
}

/// Opens `sub_path` below `volume`. Links on the way are followed as long as they stay inside.
fn find(volume: &Path, sub_path: &str) -> Result<OwnedFd> {
    let whole = volume.join(sub_path);
    let refuse = |reason: &str| Error::file(&whole)(std::io::Error::other(reason.to_owned()));
    let is_plain = |part: Component| matches!(part, Component::Normal(_));
    if !Path::new(sub_path).components().all(is_plain) {
        return Err(refuse("a subPath may not contain .. or start with /"));
    }
    let base = std::fs::canonicalize(volume).map_err(Error::file(volume))?;
    let mode = std::fs::metadata(&base).map_err(Error::file(&base))?;
    let mode = mode.permissions().mode() & 0o7777;
    let (present, missing) = deepest_present(&base, sub_path);
    let Ok(inside) = present.strip_prefix(&base) else {
        return Err(refuse("the subPath leads out of its volume"));
    };
    let failed = |error: Errno| match error {
        Errno::ELOOP | Errno::EXDEV => refuse("the subPath leads out of its volume"),
        error => Error::file(&whole)(error.into()),
    };
    let directory = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = open(&base, directory, Mode::empty()).map_err(failed)?;
    let inside = if inside.as_os_str().is_empty() {
        Path::new(".")
    } else {
        inside
    };
    let mut found = enter(&root, inside, OFlag::O_PATH | OFlag::O_CLOEXEC).map_err(failed)?;
    for name in missing {
        match mkdirat(&found, &name, Mode::from_bits_truncate(mode)) {
            Ok(()) => {
                found = enter(&found, &name, directory).map_err(failed)?;
                // The umask took its part; containers must be able to do here what they may in the volume.
                let path = by_descriptor(&found);
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))
                    .map_err(Error::file(&whole))?;
            }
            Err(Errno::EEXIST) => found = enter(&found, &name, directory).map_err(failed)?,
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(found)
}

/// The real path of what is already there, and the names that have to be made below it.
fn deepest_present(base: &Path, sub_path: &str) -> (PathBuf, Vec<PathBuf>) {
    let mut path = base.join(sub_path);
    let mut missing = Vec::new();
    loop {
        if let Ok(present) = std::fs::canonicalize(&path) {
            missing.reverse();
            return (present, missing);
        }
        missing.extend(path.file_name().map(PathBuf::from));
        if !path.pop() {
            return (path, missing);
        }
    }
}

fn enter(directory: &OwnedFd, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
    let how = OpenHow::new().flags(flags).resolve(resolve);
    openat2(directory, path, how)
}

fn by_descriptor(descriptor: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn real(found: &OwnedFd) -> PathBuf {
        std::fs::read_link(by_descriptor(found)).unwrap()
    }

    #[test]
    fn nothing_is_found_or_made_outside_of_the_volume() {
        let parent = tempfile::tempdir().unwrap();
        let outside = parent.path().join("outside");
        let volume = parent.path().join("volume");
        std::fs::create_dir(&outside).unwrap();
        std::fs::create_dir(&volume).unwrap();
        symlink(&outside, volume.join("trap")).unwrap();
        symlink(outside.join("not yet"), volume.join("dangling")).unwrap();
        for bad in [
            "../x",
            "/etc",
            "a/../../b",
            "trap",
            "trap/made",
            "dangling",
            "dangling/x",
        ] {
            assert!(find(&volume, bad).is_err(), "{bad}");
        }
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[test]
    fn what_is_missing_is_made_with_the_volumes_mode() {
        let volume = tempfile::tempdir().unwrap();
        let base = volume.path().canonicalize().unwrap();
        std::fs::set_permissions(&base, std::fs::Permissions::from_mode(0o777)).unwrap();
        std::fs::create_dir(base.join("there")).unwrap();
        symlink("there", base.join("link")).unwrap();
        std::fs::write(base.join("there/file"), "x").unwrap();
        let found = find(&base, "link/below/deep").unwrap();
        assert_eq!(real(&found), base.join("there/below/deep"));
        for made in ["there/below", "there/below/deep"] {
            let mode = std::fs::metadata(base.join(made))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o7777, 0o777, "{made}");
        }
        assert_eq!(
            real(&find(&base, "link/file").unwrap()),
            base.join("there/file")
        );
    }
}
