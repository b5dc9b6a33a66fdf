//! The programs the machine itself must have.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use super::progress::Progress;
use super::versions::MACHINE_PACKAGES;
use crate::process::{find_program, output};

/// Installs what is missing where that is ours to do; else says the command that would.
pub fn install(progress: Progress) -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let command = format!("apt-get install --no-install-recommends {}", missing.join(" "));
    if !is_root()? || find_program("apt-get").is_none() {
        bail!("not on this machine: {}; `{command}` as root installs it", missing.join(", "));
    }
    progress.say(format!("packages   {}", missing.join(" ")));
    for arguments in [&["update", "-qq"][..], &["install", "-y", "-qq", "--no-install-recommends"]] {
        let wanted = if arguments[0] == "install" { &missing[..] } else { &[] };
        let mut apt = Command::new("apt-get");
        output(apt.args(arguments).args(wanted).env("DEBIAN_FRONTEND", "noninteractive"))?;
    }
    match self::missing()[..] {
        [] => Ok(()),
        ref still => bail!("installed, but their programs are not there: {}", still.join(", ")),
    }
}

/// Whether this process may do what the lab must: namespaces, mounts, cgroups.
pub fn is_root() -> Result<bool> {
    Ok(output(Command::new("id").arg("-u").stderr(Stdio::inherit()))?.trim() == "0")
}

fn missing() -> Vec<&'static str> {
    let mut packages: Vec<&str> =
        MACHINE_PACKAGES.iter().filter(|(program, _)| find_program(program).is_none()).map(|(_, name)| *name).collect();
    packages.dedup();
    packages
}
