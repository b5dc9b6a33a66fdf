//! `fairway enter`: a command inside the namespaces of a sandbox.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use sandbox::machine::{Record, StateDir, enter_namespaces, node_process};

use super::{kubeconfig, state_root};
use crate::apply::API_PORT_FOR_NODES;
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
    let kubeconfig = kubeconfig_inside(&record)?;
    enter(process)?;
    let (program, rest) = match args.command.split_first() {
        Some((program, rest)) => (program.clone(), rest),
        None => (std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned()), &[][..]),
    };
    let mut command = Command::new(&program);
    if let Some(file) = &kubeconfig {
        command.env("KUBECONFIG", format!("/proc/self/fd/{}", file.as_raw_fd()));
    }
    // Only children are in the pid namespace that was entered.
    let status = command.args(rest).status().with_context(|| format!("cannot run {program}"))?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// What kubectl needs inside, where neither the user's files nor the host's loopback are; `None` when the context has
/// been taken out of the user's kubeconfig.
fn kubeconfig_inside(record: &Record) -> Result<Option<File>> {
    let context = kubeconfig::find(&record.kubeconfig, &record.context)?;
    let inside = context.map(|mut context| {
        let server = SocketAddr::new(record.spec.gateways()[0], API_PORT_FOR_NODES);
        context.server = format!("https://{server}");
        kubeconfig::unnamed(&context)
    });
    inside.transpose().context("cannot hand the kubeconfig in")
}

/// Moves this process into the namespaces of another.
fn enter(process: i32) -> Result<()> {
    let theirs = |kind: &str| PathBuf::from(format!("/proc/{process}/ns/{kind}"));
    let differs =
        |kind: &&str| fs::read_link(theirs(kind)).ok() != fs::read_link(Path::new("/proc/self/ns").join(kind)).ok();
    let paths: Vec<PathBuf> = KINDS.iter().filter(|kind| differs(kind)).map(|kind| theirs(kind)).collect();
    enter_namespaces(&paths).context("cannot enter the sandbox")
}
