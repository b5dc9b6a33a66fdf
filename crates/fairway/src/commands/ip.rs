//! `fairway ip`: addresses of pods, planned and given.

mod plan;
mod show;

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::IpCommand;

/// Plans ranges, or shows what is given out on this node.
pub fn run(command: &IpCommand) -> Result<ExitCode> {
    match command {
        IpCommand::Plan(args) => plan::run(args),
        IpCommand::Show(args) => show::run(args),
    }
}
