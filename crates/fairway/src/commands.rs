//! What each command does.

mod check;
mod completions;
mod context;
mod demo;
mod down;
mod enter;
mod explain;
mod install;
mod installed;
mod ip;
mod kubeconfig;
mod launch;
mod peers;
mod reach;
mod report;
mod rollout;
mod service;
mod snapshot;
mod status;
mod survey;
mod uninstall;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use nix::unistd::Uid;

use crate::cli::{Cli, Command};
use crate::roles;

/// Runs the command a user typed, or the role a cluster asked for.
pub fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Up(args) => up::run(&args),
        Command::Down(args) => down::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Enter(args) => enter::run(&args),
        Command::Service(args) => service::run(&args),
        Command::Ip(args) => ip::run(&args.command),
        Command::Peers(args) => peers::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Install(args) => install::run(&args),
        Command::Uninstall(args) => uninstall::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Agent(args) => roles::run_agent(args),
        Command::Dns(args) => roles::run_dns(args),
        Command::Cleanup(args) => roles::run_cleanup(&args),
        Command::Controller(args) => roles::run_controller(args),
        Command::Part(part) => roles::run_part(part),
    }
}

/// Where sandboxes keep their state: `FAIRWAY_STATE_DIR`, else the system's directory for root and the user's for
/// others (XDG base directories).
fn state_root() -> Result<PathBuf> {
    let from = |variable: &str| std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
    if let Some(root) = from("FAIRWAY_STATE_DIR") {
        return std::path::absolute(root).context("FAIRWAY_STATE_DIR");
    }
    if Uid::effective().is_root() {
        return Ok(PathBuf::from("/var/lib/fairway"));
    }
    let state = from("XDG_STATE_HOME").or_else(|| from("HOME").map(|home| home.join(".local/state")));
    Ok(state.context("no place for state: set XDG_STATE_HOME or HOME")?.join("fairway"))
}

/// A runtime for the commands: they wait for one thing at a time.
fn block_on<T>(future: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.context("cannot start the async runtime")?.block_on(future))
}
