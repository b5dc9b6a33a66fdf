//! The `fairway` binary: roles and commands, wiring only.
//!
//! One program: called with `CNI_COMMAND` set it is the CNI plugin; called by the name of a built-in tool it is that tool;
//! otherwise its first word says which command or role it is.

#[macro_use]
mod output;

mod apply;
mod cli;
mod commands;
mod diagnostics;
mod kernel_features;
mod logging;
mod peers;
mod relay;
mod roles;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = roles::early::dispatch() {
        return code;
    }
    let cli = cli::parse();
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
