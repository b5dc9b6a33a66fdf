//! The plugin as a program of its own; `fairway` does the same when `CNI_COMMAND` is set.

use std::process::ExitCode;
use std::{env, io};

fn main() -> ExitCode {
    cni::run(env::vars(), &mut io::stdin().lock(), &mut io::stdout().lock()).into()
}
