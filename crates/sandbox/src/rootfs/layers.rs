//! The host's directories as layers below a root's own changes.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use nix::mount::{MntFlags, umount2};

use super::{Bind, RootError, make_mount_point, mounts};

/// The changes of all overlays of one root, on a tmpfs that only the overlays hold on to once it is closed.
pub struct Layers {
    root: PathBuf,
    store: PathBuf,
}

impl Layers {
    /// Makes room for the layers of the root at `root`.
    pub fn open(root: &Path) -> Result<Self, RootError> {
        let store = root.join(".layers");
        make_mount_point(&store, true)?;
        mounts::tmpfs(&store, "mode=0700")?;
        Ok(Self { root: root.to_path_buf(), store })
    }

    /// Shows `host` as the root's top directory `name`: as an overlay, or read-only where that is refused.
    pub fn show(&self, host: &Path, name: &str, binds: &[Bind]) -> Result<(), RootError> {
        self.overlay(host, name, binds).or_else(|_| mounts::bind_read_only(host, &self.root.join(name)))
    }

    /// Shows `host` as the root's top directory `name`: as an overlay, or as a copy of what is readable in it.
    pub fn show_or_copy(&self, host: &Path, name: &str, binds: &[Bind]) -> Result<(), RootError> {
        let target = self.root.join(name);
        self.overlay(host, name, binds).or_else(|_| {
            copy_readable(host, &target).map_err(|source| RootError::Make { path: target, source })?;
            make_room(host, &self.root.join(name), name, binds)
        })
    }

    fn overlay(&self, host: &Path, name: &str, binds: &[Bind]) -> Result<(), RootError> {
        let upper = self.store.join(name).join("upper");
        let work = self.store.join(name).join("work");
        make_mount_point(&upper, true)?;
        make_mount_point(&work, true)?;
        make_room(host, &upper, name, binds)?;
        mounts::overlay(host, &upper, &work, &self.root.join(name))
    }

    /// Takes the store out of sight; the overlays keep it alive.
    pub fn close(self) -> Result<(), RootError> {
        umount2(&self.store, MntFlags::MNT_DETACH).map_err(|source| RootError::Mount {
            what: "nothing".to_owned(),
            on: self.store.clone(),
            source,
        })?;
        fs::remove_dir(&self.store).map_err(|source| RootError::Make { path: self.store.clone(), source })
    }
}

/// Makes mount points below `changes` for the binds that go below the top directory `name`, where `host` has none.
///
/// It happens in the changes and not through the overlay, because there the host's directories may belong to a user
/// that has no name in this user namespace, and nobody may write to them.
fn make_room(host: &Path, changes: &Path, name: &str, binds: &[Bind]) -> Result<(), RootError> {
    let top = Path::new("/").join(name);
    for bind in binds {
        let target = resolve(&bind.target);
        let Ok(inside) = target.strip_prefix(&top) else { continue };
        let below_link = inside.ancestors().skip(1).any(|parent| host.join(parent).is_symlink());
        let usable = fs::symlink_metadata(host.join(inside)).is_ok_and(|found| !found.is_symlink());
        if !usable && !below_link {
            let point = changes.join(inside);
            if point.is_symlink() {
                fs::remove_file(&point).map_err(|source| RootError::Make { path: point.clone(), source })?;
            }
            make_mount_point(&point, bind.source.is_dir())?;
        }
    }
    Ok(())
}

/// The path `target` names when the links among the top directories (`/bin`, `/var/run` and the like) are followed.
pub fn resolve(target: &Path) -> PathBuf {
    let mut parts = target.components().filter(|part| matches!(part, Component::Normal(_)));
    let Some(first) = parts.next() else { return PathBuf::from("/") };
    let rest: PathBuf = parts.collect();
    let top = Path::new("/").join(first);
    if top == Path::new("/var")
        && let Ok(below) = rest.strip_prefix("run")
    {
        return Path::new("/run").join(below);
    }
    let top = if top.is_symlink() { fs::canonicalize(&top).unwrap_or(top) } else { top };
    top.join(rest)
}

/// Copies files, directories and links; skips what the caller may not read and what is neither.
fn copy_readable(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)?.flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let Ok(kind) = entry.file_type() else { continue };
        let copied = if kind.is_symlink() {
            fs::read_link(&source).and_then(|link| symlink(link, &target))
        } else if kind.is_dir() {
            fs::create_dir(&target).and_then(|()| copy_readable(&source, &target))
        } else if kind.is_file() {
            fs::copy(&source, &target).map(drop)
        } else {
            Ok(())
        };
        match copied {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_below_run_under_var_go_to_run() {
        assert_eq!(resolve(Path::new("/var/run/secrets/token")), Path::new("/run/secrets/token"));
        assert_eq!(resolve(Path::new("/var/running")), Path::new("/var/running"));
    }

    #[test]
    fn a_copy_keeps_links_and_directories() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(from.path().join("d")).unwrap();
        fs::write(from.path().join("d/f"), "x").unwrap();
        symlink("d/f", from.path().join("l")).unwrap();
        copy_readable(from.path(), to.path()).unwrap();
        assert_eq!(fs::read_to_string(to.path().join("l")).unwrap(), "x");
        assert!(to.path().join("l").is_symlink());
    }
}
