//! Under which conditions something was measured.

use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::assets::repository;
use crate::process::output;

/// When and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// The time, in UTC.
    pub at: String,
    /// The commit of this repository, with `-dirty` if something was changed since.
    pub commit: String,
    /// The release of Linux.
    pub kernel: String,
    /// How many processors there are.
    pub processors: usize,
    /// How many processes wanted one, in the minute before: what they took was not to be had.
    pub load: f64,
}

impl Conditions {
    /// As they are now.
    pub fn read() -> Result<Self> {
        let load = std::fs::read_to_string("/proc/loadavg").context("cannot read /proc/loadavg")?;
        let load = load.split(' ').next().unwrap_or_default().parse().context("/proc/loadavg is no number")?;
        let describe = ["describe", "--always", "--dirty", "--exclude=*"];
        Ok(Self {
            at: line(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%MZ"]))?,
            commit: line(Command::new("git").arg("-C").arg(repository()?).args(describe))?,
            kernel: line(Command::new("uname").arg("-r"))?,
            processors: std::thread::available_parallelism()?.get(),
            load,
        })
    }
}

impl std::fmt::Display for Conditions {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { at, commit, kernel, processors, load } = self;
        write!(out, "{at}, commit {commit}, Linux {kernel}, {processors} processors, load before {load}")
    }
}

fn line(command: &mut Command) -> Result<String> {
    Ok(output(command)?.trim().to_owned())
}
