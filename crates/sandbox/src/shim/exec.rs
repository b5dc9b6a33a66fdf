//! `container-exec`: runs one more command in a running container.
//!
//! Two steps. The first joins the container's namespaces; a pid namespace takes effect only for children, so it starts
//! the second inside, waits for it and ends as it ended. The second takes its terminal and becomes the command.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use crate::images;
use crate::rootfs::PROGRAM;

use super::resolve::find_program;
use super::spec::ContainerSpec;
use super::{Place, capabilities, terminal};

/// What stands for "no terminal" among the arguments.
pub(super) const NO_TERMINAL: &str = "-";

/// Runs `fairway container-exec DIRECTORY TERMINAL|- ERRORS COMMAND ..`.
///
/// If the command cannot be started, the file ERRORS says why.
pub fn container_exec(arguments: &[OsString]) -> ExitCode {
    let [directory, terminal, errors, command @ ..] = arguments else {
        eprintln!("usage: fairway container-exec DIRECTORY TERMINAL|- ERRORS COMMAND ..");
        return ExitCode::from(2);
    };
    super::inherited::shed();
    // The file lies outside of the container: opened before entering it.
    let mut errors = match File::create(errors) {
        Ok(errors) => errors,
        Err(error) => {
            eprintln!("cannot open {errors:?}: {error}");
            return ExitCode::FAILURE;
        }
    };
    match run(&Place::new(PathBuf::from(directory)), terminal, command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Whoever asked is gone if this fails.
            let _ = io::Write::write_all(&mut errors, error.to_string().as_bytes());
            ExitCode::from(126)
        }
    }
}

fn run(place: &Place, terminal: &OsString, command: &[OsString]) -> io::Result<u8> {
    set_pdeathsig(Signal::SIGKILL)?;
    let spec = place.spec()?;
    let pid = place.running()?.pid;
    enter(pid)?;
    let name = command.first().map(|name| name.to_string_lossy()).unwrap_or_default();
    let directory = &spec.working_directory;
    find_program(&name, search_path(&spec), directory).map_err(io::Error::other)?;
    capabilities::limit(&spec)?;
    let status = Command::new(PROGRAM)
        .arg("container-exec-command")
        .arg(directory)
        .arg(terminal)
        .args(command)
        .env_clear()
        .envs(spec.environment.iter().map(|(name, value)| (name, value)))
        .status()?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

fn search_path(spec: &ContainerSpec) -> &str {
    spec.environment.iter().find(|(name, _)| name == "PATH").map_or(images::PATH, |(_, value)| value)
}

/// Joins the namespaces of process `pid`; the pid namespace counts for children only.
fn enter(pid: i32) -> io::Result<()> {
    let kinds = [
        ("net", CloneFlags::CLONE_NEWNET),
        ("uts", CloneFlags::CLONE_NEWUTS),
        ("ipc", CloneFlags::CLONE_NEWIPC),
        ("pid", CloneFlags::CLONE_NEWPID),
        ("mnt", CloneFlags::CLONE_NEWNS),
    ];
    let open = |(name, kind)| Ok((File::open(format!("/proc/{pid}/ns/{name}"))?, kind));
    let namespaces = kinds.into_iter().map(open).collect::<io::Result<Vec<_>>>()?;
    for (file, kind) in namespaces {
        setns(file, kind)?;
    }
    Ok(())
}

/// Runs `fairway container-exec-command DIRECTORY TERMINAL|- COMMAND ..` inside the container: becomes the command.
pub fn container_exec_command(arguments: &[OsString]) -> ExitCode {
    let [directory, terminal, name, rest @ ..] = arguments else {
        eprintln!("usage: fairway container-exec-command DIRECTORY TERMINAL|- COMMAND ..");
        return ExitCode::from(2);
    };
    match become_command(Path::new(directory), terminal, name, rest) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("exec: {name:?}: {error}");
            ExitCode::from(126)
        }
    }
}

fn become_command(
    directory: &Path,
    terminal: &OsString,
    name: &OsString,
    rest: &[OsString],
) -> io::Result<std::convert::Infallible> {
    set_pdeathsig(Signal::SIGKILL)?;
    if terminal == NO_TERMINAL {
        nix::unistd::setsid()?;
    } else {
        terminal::become_controlled_by(Path::new(terminal))?;
    }
    fs::create_dir_all(directory)?;
    std::env::set_current_dir(directory)?;
    Err(Command::new(name).args(rest).exec())
}
