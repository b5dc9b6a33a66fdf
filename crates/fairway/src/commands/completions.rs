//! `fairway completions`

use std::process::ExitCode;

use anyhow::Result;
use clap::CommandFactory;

use crate::cli::{Cli, CompletionsArgs};
use crate::output;

/// Prints the completion script of a shell.
pub fn run(args: &CompletionsArgs) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "fairway", &mut script);
    output::bytes(&script);
    Ok(ExitCode::SUCCESS)
}
