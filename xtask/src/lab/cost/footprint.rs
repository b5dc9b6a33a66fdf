//! Memory and processor time of a stack's programs on all nodes.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::lab::process_table::ProcessTable;
use crate::lab::progress::pause;
use crate::lab::site::Node;
use crate::process::output;

/// The programs of either stack, as the kernel names their processes.
const PROGRAMS: [&str; 3] = ["kube-proxy", "coredns", "fairway"];
const TIME: Duration = Duration::from_secs(30);
const BETWEEN_ROUNDS: Duration = Duration::from_millis(500);

/// What the programs of a stack use, on all nodes together.
#[derive(Debug, Serialize, Deserialize)]
pub struct Footprint {
    /// Resident memory at the end.
    pub memory_mib: f64,
    /// Processor time in `seconds`.
    pub cpu_ms: f64,
    seconds: f64,
}

impl Footprint {
    /// Processor time in a second.
    pub fn cpu_ms_per_second(&self) -> f64 {
        self.cpu_ms / self.seconds
    }
}

/// Measures for half a minute while `act` is done again and again; and how often it was.
pub fn over_time(nodes: &[Node], mut act: impl FnMut(usize) -> Result<()>) -> Result<(Footprint, usize)> {
    let usage = || Usage::of(nodes)?.context("no process of the stack runs");
    let (began, before) = (Instant::now(), usage()?);
    let mut rounds = 0;
    while began.elapsed() < TIME {
        act(rounds)?;
        rounds += 1;
        pause(BETWEEN_ROUNDS);
    }
    let (after, seconds) = (usage()?, began.elapsed().as_secs_f64());
    let footprint = Footprint { memory_mib: after.memory_mib, cpu_ms: after.cpu_ms - before.cpu_ms, seconds };
    Ok((footprint, rounds))
}

/// What the programs of a stack have used so far.
pub struct Usage {
    /// Resident memory.
    pub memory_mib: f64,
    /// Processor time since each began.
    pub cpu_ms: f64,
}

impl Usage {
    /// On all nodes together; nothing where none of them runs.
    pub fn of(nodes: &[Node]) -> Result<Option<Self>> {
        let all = ProcessTable::read()?;
        let ticks: f64 = output(Command::new("getconf").arg("CLK_TCK"))?.trim().parse()?;
        let mut usage = Self { memory_mib: 0.0, cpu_ms: 0.0 };
        let mut found = 0;
        for node in nodes {
            let running = all.of_machine(&node.machine)?;
            for (id, process) in running.into_iter().filter(|(_, process)| PROGRAMS.contains(&&*process.name)) {
                usage.memory_mib += resident_kib(id)? / 1024.0;
                usage.cpu_ms += process.ticks / ticks * 1000.0;
                found += 1;
            }
        }
        ensure!(found == 0 || found >= nodes.len(), "only {found} processes of the stack found");
        Ok((found > 0).then_some(usage))
    }
}

fn resident_kib(id: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).context("a process of the stack has ended")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a process without memory")?;
    line.trim().trim_end_matches(" kB").parse().context("VmRSS is no number")
}
