//! `fairway completions`

use std::process::ExitCode;

use anyhow::Result;
use clap::CommandFactory;

use crate::cli::{Cli, CompletionsArgs};

/// Prints the completion script of a shell.
pub fn run(args: &CompletionsArgs) -> Result<ExitCode> {
    clap_complete::generate(args.shell, &mut Cli::command(), "fairway", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}
