//! A minimal `/dev`: the harmless devices, terminals of its own, shared memory.

use std::os::unix::fs::symlink;
use std::path::Path;

use super::{Purpose, RootError, make_mount_point, mounts};

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

/// Builds `/dev` at `dev`. Devices are binds of the surrounding ones: a user namespace may not make any.
pub fn build(dev: &Path, purpose: Purpose) -> Result<(), RootError> {
    make_mount_point(dev, true)?;
    mounts::tmpfs(dev, "mode=0755,size=64k")?;
    let more: &[&str] = if purpose == Purpose::Container { &[] } else { &["net/tun"] };
    for name in DEVICES.iter().chain(more) {
        let host = Path::new("/dev").join(name);
        if host.exists() {
            make_mount_point(&dev.join(name), false)?;
            mounts::bind(&host, &dev.join(name))?;
        }
    }
    for (to, name) in LINKS {
        let path = dev.join(name);
        symlink(to, &path).map_err(|source| RootError::Make { path, source })?;
    }
    make_mount_point(&dev.join("pts"), true)?;
    mounts::devpts(&dev.join("pts"))?;
    make_mount_point(&dev.join("shm"), true)?;
    mounts::tmpfs(&dev.join("shm"), "mode=1777,size=64m")
}
