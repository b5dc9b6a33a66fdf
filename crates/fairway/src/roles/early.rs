//! What must be decided before the command line is read, and before there is a second thread.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the helper that the environment or the program's name asks for; `None` when it is an ordinary command line.
pub fn dispatch() -> Option<ExitCode> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    sandbox::node::entry::dispatch(&arguments)
}
