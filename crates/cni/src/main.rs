//! The plugin as a program of its own; `fairway` does the same when `CNI_COMMAND` is set.

use std::process::ExitCode;
use std::{env, io};

fn main() -> ExitCode {
    // Variables that are no text cannot be any of the plugin's.
    let variables =
        env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    cni::run(variables, &mut io::stdin().lock(), &mut io::stdout().lock()).into()
}
