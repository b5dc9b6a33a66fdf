//! `agnhost`, the Kubernetes project's test program: the subcommands that network tests use, with the original's flags,
//! output and exit codes.

mod connect;
mod dial;
mod liveness;
mod netexec;
mod porter;
mod serve_hostname;

use std::process::ExitCode;

use nix::sys::signal::{SigSet, Signal};

use super::journal;

/// The version of the original whose behaviour this follows.
const VERSION: &str = "2.53";

const SUBCOMMANDS: [&str; 6] = ["connect", "liveness", "netexec", "pause", "porter", "serve-hostname"];

/// Runs `agnhost SUBCOMMAND ..`.
pub fn main(arguments: &[String]) -> ExitCode {
    let Some((subcommand, rest)) = arguments.split_first() else {
        eprintln!("usage: agnhost SUBCOMMAND [flags]; there are: {}", SUBCOMMANDS.join(", "));
        return ExitCode::SUCCESS;
    };
    match subcommand.as_str() {
        "connect" => connect::main(rest),
        "liveness" => liveness::main(rest),
        "netexec" => netexec::main(rest),
        "pause" => {
            println!("Paused");
            pause(&[])
        }
        "porter" => porter::main(rest),
        "serve-hostname" => serve_hostname::main(rest),
        "--version" => {
            println!("app version {VERSION}");
            ExitCode::SUCCESS
        }
        other => {
            eprintln!("Error: unknown command {other:?} for \"app\"; there are: {}", SUBCOMMANDS.join(", "));
            ExitCode::FAILURE
        }
    }
}

/// Waits for a signal that asks it to end.
pub fn pause(_: &[String]) -> ExitCode {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGCHLD].into_iter().collect();
    if let Err(error) = signals.thread_block() {
        journal::say(format!("cannot wait for signals: {error}"));
        return ExitCode::FAILURE;
    }
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => {
                while nix::sys::wait::waitpid(None, Some(nix::sys::wait::WaitPidFlag::WNOHANG))
                    .is_ok_and(|status| status.pid().is_some())
                {}
            }
            _ => return ExitCode::SUCCESS,
        }
    }
}

/// Prints what is wrong with the flags, as the original does.
fn usage_error(error: &str) -> ExitCode {
    eprintln!("Error: {error}");
    ExitCode::FAILURE
}
