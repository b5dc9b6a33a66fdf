//! What must be decided before the command line is read, and before there is a second thread.

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

/// The variable by which a container runtime calls the CNI plugin.
const CNI_COMMAND: &str = "CNI_COMMAND";

/// Runs the plugin or the helper that the environment or the program's name asks for; `None` when it is an ordinary
/// command line.
pub fn dispatch() -> Option<ExitCode> {
    if std::env::var_os(CNI_COMMAND).is_some() {
        return Some(ExitCode::from(run_plugin()));
    }
    let arguments: Vec<OsString> = std::env::args_os().collect();
    sandbox::node::entry::dispatch(&arguments)
}

fn run_plugin() -> u8 {
    // Variables that are no text cannot be any of the plugin's.
    let variables =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    cni::run(variables, &mut io::stdin().lock(), &mut io::stdout().lock())
}
