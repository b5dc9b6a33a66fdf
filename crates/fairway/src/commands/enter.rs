//! `fairway enter`: a command inside the namespaces of a sandbox.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use sandbox::machine::{Record, StateDir, enter_namespaces, node_process};

use super::state_root;
use crate::cli::EnterArgs;

/// Namespaces in the order in which they are entered: the user namespace gives the right to enter the others.
const KINDS: [&str; 5] = ["user", "pid", "net", "uts", "mnt"];

/// Runs the command inside the sandbox and ends as it ended.
pub fn run(args: &EnterArgs) -> Result<ExitCode> {
    let state = StateDir::new(&state_root()?, &args.sandbox.name)?;
    let record = state.read_record()?.filter(Record::is_running);
    let record =
        record.with_context(|| format!("sandbox {} is not up; start it with: fairway up", args.sandbox.name))?;
    let process = match &args.node {
        None => record.supervisor,
        Some(node) => {
            let known: Vec<String> = record.spec.node_names().collect();
            ensure!(known.contains(node), "there is no node {node:?}; the nodes are {}", known.join(", "));
            node_process(&record, node).with_context(|| format!("{node} does not run at the moment; try again"))?
        }
    };
    enter(process)?;
    let (program, rest) = match args.command.split_first() {
        Some((program, rest)) => (program.clone(), rest),
        None => (std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned()), &[][..]),
    };
    // Only children are in the pid namespace that was entered.
    let status = Command::new(&program).args(rest).status().with_context(|| format!("cannot run {program}"))?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// Moves this process into the namespaces of another.
fn enter(process: i32) -> Result<()> {
    let theirs = |kind: &str| PathBuf::from(format!("/proc/{process}/ns/{kind}"));
    let differs =
        |kind: &&str| fs::read_link(theirs(kind)).ok() != fs::read_link(Path::new("/proc/self/ns").join(kind)).ok();
    let paths: Vec<PathBuf> = KINDS.iter().filter(|kind| differs(kind)).map(|kind| theirs(kind)).collect();
    enter_namespaces(&paths).context("cannot enter the sandbox")
}
