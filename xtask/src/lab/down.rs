//! Taking a lab down, in whatever state it is.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::progress::wait_for;
use super::site::{Site, cgroup_prefix};
use super::{cgroups, machine};
use crate::process::run;

/// The kernel ends a machine's processes within moments; with many pods it takes its time.
const END_LIMIT: Duration = Duration::from_secs(30);

/// Ends the lab and says what was removed.
pub fn down(site: &Site) -> Result<()> {
    let removed = remove(site)?;
    if removed.is_empty() {
        println!("nothing is left of the lab {:?}", site.name);
    }
    removed.iter().for_each(|line| println!("removed {line}"));
    Ok(())
}

/// Whether a machine of the lab runs.
pub fn anything_runs(site: &Site) -> Result<bool> {
    Ok(!machines(site)?.is_empty())
}

/// Removes everything of the lab; what that was. Goes on after a failure and tells of each.
pub fn remove(site: &Site) -> Result<Vec<String>> {
    let steps = [end_machines(site), remove_cgroups(site), unmount(&site.folder), remove_files(&site.folder)];
    let (mut removed, mut failed) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            Ok(told) => removed.extend(told),
            Err(error) => failed.push(format!("{error:#}")),
        }
    }
    if failed.is_empty() { Ok(removed) } else { bail!("{}", failed.join("; ")) }
}

/// Process 1 of each machine of the lab, nodes and control plane alike.
fn machines(site: &Site) -> Result<Vec<(u32, PathBuf)>> {
    Ok(machine::processes()?.into_iter().filter(|(_, path)| path.starts_with(&site.folder)).collect())
}

/// With its process 1 the kernel ends every process, mount and interface of a machine.
fn end_machines(site: &Site) -> Result<Option<String>> {
    let running = machines(site)?;
    if running.is_empty() {
        return Ok(None);
    }
    for (pid, _) in &running {
        // One that has ended by itself in the meantime is as good as killed.
        let _ = run(Command::new("kill").args(["-KILL", &pid.to_string()]));
    }
    let ids: Vec<u32> = running.iter().map(|(pid, _)| *pid).collect();
    let gone = |pid: &u32| !Path::new(&format!("/proc/{pid}")).exists();
    wait_for("the machines to end", END_LIMIT, || Ok(ids.iter().all(gone).then_some(())))?;
    let names = running.iter().filter_map(|(_, path)| path.parent()?.file_name()?.to_str());
    Ok(Some(format!("machines {} with all their processes", names.collect::<Vec<_>>().join(" "))))
}

fn remove_cgroups(site: &Site) -> Result<Option<String>> {
    let mut removed = 0;
    // The kernel takes a moment to move the last process out of its cgroup.
    wait_for("the cgroups to be empty", END_LIMIT, || {
        removed += cgroups::remove(&cgroup_prefix(site))?;
        Ok(Some(()))
    })?;
    Ok((removed > 0).then(|| format!("{removed} cgroups")))
}

/// Machines mount in namespaces of their own; this is for what a hand has mounted there.
fn unmount(folder: &Path) -> Result<Option<String>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    let mut places: Vec<&Path> = places.filter(|place| place.starts_with(folder)).collect();
    places.sort_unstable();
    for place in places.iter().rev() {
        run(Command::new("umount").arg("--lazy").arg(place))?;
    }
    Ok((!places.is_empty()).then(|| format!("{} mounts", places.len())))
}

fn remove_files(folder: &Path) -> Result<Option<String>> {
    match fs::remove_dir_all(folder) {
        Ok(()) => Ok(Some(folder.display().to_string())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", folder.display())),
    }
}
