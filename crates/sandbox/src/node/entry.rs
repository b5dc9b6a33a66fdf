//! Where this program begins when it is called as one of a node's helpers instead of by a user.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use crate::images;
use crate::shim;

/// Runs the helper that `arguments` (with the program's own name first) ask for; `None` if they are a user's.
///
/// Helpers are a built-in image's program, called by its own name or as `fairway applet NAME ..`, and the steps of
/// starting a container. They expect a process that has no threads yet: call this first in `main`.
pub fn dispatch(arguments: &[OsString]) -> Option<ExitCode> {
    let (program, rest) = arguments.split_first()?;
    let called = Path::new(program).file_name()?.to_str()?;
    if let Some(code) = images::run_applet(called, rest) {
        return Some(code);
    }
    let (command, rest) = rest.split_first()?;
    match command.to_str()? {
        "applet" => Some(run_applet(rest)),
        "container-shim" => Some(shim::container_shim(rest)),
        "container-init" => Some(shim::container_init(rest)),
        "container-exec" => Some(shim::container_exec(rest)),
        "container-exec-command" => Some(shim::container_exec_command(rest)),
        _ => None,
    }
}

fn run_applet(arguments: &[OsString]) -> ExitCode {
    let Some((name, rest)) = arguments.split_first() else {
        eprintln!("usage: fairway applet NAME ..; there are: {}", names());
        return ExitCode::from(2);
    };
    images::run_applet(&name.to_string_lossy(), rest).unwrap_or_else(|| {
        eprintln!("no applet {name:?}; there are: {}", names());
        ExitCode::from(127)
    })
}

fn names() -> String {
    [images::applet_names(), images::tool_names()].concat().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_command_is_not_a_helper() {
        for arguments in [&["fairway"][..], &["fairway", "up"], &["kubectl-fairway", "status"]] {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            assert!(dispatch(&arguments).is_none(), "{arguments:?}");
        }
    }
}
