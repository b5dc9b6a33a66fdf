//! The cgroups of nodes: one of its own for each, in every hierarchy the machine has.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A cpuset without these takes no process (cgroup v1).
const INHERITED: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// Makes the cgroup `name` in every hierarchy.
pub fn make(name: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let folder = hierarchy.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make the cgroup {}", folder.display()))?;
        for file in INHERITED {
            if let Ok(value) = fs::read(hierarchy.join(file)) {
                fs::write(folder.join(file), value).with_context(|| format!("cannot set {file} of {name}"))?;
            }
        }
    }
    Ok(())
}

/// Removes every cgroup whose name is `prefix` and a number, with all in them; how many there were.
pub fn remove(prefix: &str) -> Result<usize> {
    let mut removed = 0;
    for hierarchy in hierarchies()? {
        for folder in folders(&hierarchy) {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            if name.strip_prefix(prefix).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit())) {
                removed += remove_tree(&folder)?;
            }
        }
    }
    Ok(removed)
}

/// Leaves first: a cgroup with others in it cannot be removed.
fn remove_tree(folder: &Path) -> Result<usize> {
    let inner: usize = folders(folder).iter().map(|inner| remove_tree(inner)).sum::<Result<usize>>()?;
    fs::remove_dir(folder).with_context(|| format!("cannot remove the cgroup {}", folder.display()))?;
    Ok(inner + 1)
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(folder).into_iter().flatten().flatten();
    listed.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// Where the hierarchies are mounted, of either version.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
    Ok(mounts.lines().filter_map(hierarchy).collect())
}

fn hierarchy(mount: &str) -> Option<PathBuf> {
    let mut words = mount.split(' ');
    let (_, place, kind) = (words.next()?, words.next()?, words.next()?);
    matches!(kind, "cgroup" | "cgroup2").then(|| place.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_both_versions_are_found() {
        let place = |line| hierarchy(line);
        assert_eq!(place("cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0"), Some("/sys/fs/cgroup/cpu".into()));
        assert_eq!(place("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0"), Some("/sys/fs/cgroup".into()));
        assert_eq!(place("tmpfs /sys/fs/cgroup tmpfs rw 0 0"), None);
    }
}
