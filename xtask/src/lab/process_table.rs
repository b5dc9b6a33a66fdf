//! The processes of the host, machine by machine.

use std::collections::HashMap;
use std::fs;

use anyhow::{Context, Result};

use super::machine::Machine;

/// Every process there was when it was read, by the host's ids.
pub struct ProcessTable(HashMap<u32, Process>);

/// One process.
#[derive(Debug, PartialEq)]
pub struct Process {
    /// What the kernel calls it: the name of its program, cut after 15 letters.
    pub name: String,
    parent: u32,
    /// User and system time, in ticks of the clock.
    pub ticks: f64,
}

impl ProcessTable {
    /// Reads `/proc`.
    pub fn read() -> Result<Self> {
        let listed = fs::read_dir("/proc").context("cannot read /proc")?;
        let ids = listed.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        let read = |id| Some((id, parse(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)?));
        Ok(Self(ids.filter_map(read).collect()))
    }

    /// All processes of a machine.
    pub fn of_machine(&self, machine: &Machine) -> Result<Vec<(u32, &Process)>> {
        let first = machine.first_process()?.with_context(|| format!("{} is not up", machine.name))?;
        let running = self.0.iter().filter(|(id, _)| self.descends(**id, first));
        Ok(running.map(|(id, process)| (*id, process)).collect())
    }

    fn descends(&self, id: u32, from: u32) -> bool {
        std::iter::successors(Some(id), |id| self.0.get(id).map(|process| process.parent)).any(|id| id == from)
    }
}

/// Reads `/proc/PID/stat` (proc(5)); the name is in parentheses and may contain anything.
fn parse(stat: &str) -> Option<Process> {
    let (head, tail) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some(Process {
        name: head.split_once('(')?.1.to_owned(),
        parent: fields.get(1)?.parse().ok()?,
        ticks: ticks(11)? + ticks(12)?,
    })
}

/// The words a process was started with.
pub fn command_line(id: u32) -> Vec<String> {
    let text = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    let words = text.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_from_its_status_line() {
        let line = "42 (a (b) c) S 7 42 42 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 99";
        assert_eq!(parse(line), Some(Process { name: "a (b) c".into(), parent: 7, ticks: 200.0 }));
    }

    #[test]
    fn a_grandchild_descends() {
        let process = |parent| Process { name: String::new(), parent, ticks: 0.0 };
        let table = ProcessTable(HashMap::from([(2, process(1)), (3, process(2)), (9, process(1))]));
        assert!(table.descends(3, 2) && !table.descends(9, 2));
    }
}
