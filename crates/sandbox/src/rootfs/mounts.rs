//! The mounts a root is made of, each with what it falls back to.

use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::{FsFlags, statvfs};

use super::RootError;

const NONE: Option<&str> = None;

fn refused(what: impl ToString, on: &Path) -> impl FnOnce(Errno) -> RootError {
    move |source| RootError::Mount { what: what.to_string(), on: on.to_path_buf(), source }
}

/// A tmpfs on `on`.
pub fn tmpfs(on: &Path, options: &str) -> Result<(), RootError> {
    mount(Some("tmpfs"), on, Some("tmpfs"), MsFlags::MS_NODEV | MsFlags::MS_NOSUID, Some(options))
        .map_err(refused("tmpfs", on))
}

/// An overlay of `lower` that keeps its changes in `upper`.
pub fn overlay(lower: &Path, upper: &Path, work: &Path, on: &Path) -> Result<(), RootError> {
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    // Inside a user namespace the overlay can only keep its notes in user.* attributes; outside it prefers trusted.*.
    let in_user_namespace = !std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.contains("4294967295"));
    let first = if in_user_namespace { format!("{options},userxattr") } else { options.clone() };
    mount(Some("overlay"), on, Some("overlay"), MsFlags::empty(), Some(first.as_str()))
        .or_else(|_| mount(Some("overlay"), on, Some("overlay"), MsFlags::empty(), Some(options.as_str())))
        .map_err(refused(format!("an overlay of {}", lower.display()), on))
}

/// Shows `source`, with everything mounted below it, at `on`.
pub fn bind(source: &Path, on: &Path) -> Result<(), RootError> {
    mount(Some(source), on, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE).map_err(refused(source.display(), on))
}

/// Shows `source` at `on` and refuses writes to it.
pub fn bind_read_only(source: &Path, on: &Path) -> Result<(), RootError> {
    bind(source, on)?;
    // A less privileged mount namespace may add flags to a mount but not lose those it inherited.
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | inherited_flags(on);
    mount(NONE, on, NONE, flags, NONE).map_err(refused(format!("{} read-only", source.display()), on))
}

fn inherited_flags(on: &Path) -> MsFlags {
    let Ok(facts) = statvfs(on) else { return MsFlags::empty() };
    let pairs = [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ];
    pairs.into_iter().filter(|(has, _)| facts.flags().contains(*has)).map(|(_, keep)| keep).collect()
}

/// The processes of the caller's pid namespace; where the kernel refuses a view of its own, the surrounding one.
pub fn proc(on: &Path) -> Result<(), RootError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), on, Some("proc"), flags, NONE)
        .map_err(refused("proc", on))
        .or_else(|_| bind(Path::new("/proc"), on))
}

/// The devices of the caller's network namespace; where the kernel refuses a view of its own, the surrounding one.
pub fn sysfs(on: &Path, read_only: bool) -> Result<(), RootError> {
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    if read_only {
        flags |= MsFlags::MS_RDONLY;
    }
    mount(Some("sysfs"), on, Some("sysfs"), flags, NONE)
        .map_err(refused("sysfs", on))
        .or_else(|_| bind(Path::new("/sys"), on))
}

/// Terminals of the root's own.
pub fn devpts(on: &Path) -> Result<(), RootError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("devpts"), on, Some("devpts"), flags, Some("newinstance,ptmxmode=0666,mode=0620"))
        .map_err(refused("devpts", on))
}
