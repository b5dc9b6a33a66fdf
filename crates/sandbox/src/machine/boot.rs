//! From an ordinary process into namespaces of our own.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{ChildStdout, Command, Stdio};

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, setsid};

use super::progress::Progress;
use super::record::StateDir;
use super::roles::RoleArgs;
use super::spec::Spec;

/// A sandbox on its way up: its events, in order, until the writer ends.
#[derive(Debug)]
pub struct Booted {
    /// Where [`Progress`] events are read from.
    pub events: BufReader<ChildStdout>,
}

/// Why no namespaces could be had.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// This binary cannot be started again.
    #[error("cannot start {program} as {role}")]
    Spawn {
        /// The binary.
        program: PathBuf,
        /// What it was to be.
        role: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The log file cannot be opened.
    #[error("cannot open log {path}")]
    Log {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The kernel or its administrator does not allow user namespaces.
    #[error(
        "this user may not make user namespaces; allow them (sysctl user.max_user_namespaces, \
         kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0) or run as root"
    )]
    UserNamespace {
        /// The cause.
        source: nix::Error,
    },
    /// The ids of the user cannot be mapped into the namespace.
    #[error("cannot map ids in {path}")]
    IdMap {
        /// The file of the map.
        path: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// Another namespace cannot be made.
    #[error("cannot make pid, mount, uts and ipc namespaces")]
    Namespaces {
        /// The cause.
        source: nix::Error,
    },
    /// Nobody waits for the sandbox any more.
    #[error("cannot report progress")]
    Progress {
        /// The cause.
        source: io::Error,
    },
}

/// Starts the boot process of a sandbox, detached from this session, with the host's API listener in its hands.
///
/// # Errors
/// When the process cannot be started. Later failures arrive as [`Progress::Failed`].
pub fn boot(state: &StateDir, spec: &Spec, listener: TcpListener) -> Result<Booted, BootError> {
    let log = state.log_file("supervisor");
    let stderr = File::create(&log).map_err(|source| BootError::Log { path: log, source })?;
    let mut command = RoleArgs::new(state, spec).command("sandbox-boot");
    command.stdin(OwnedFd::from(listener)).stdout(Stdio::piped()).stderr(stderr);
    let mut child = spawn(&mut command, "boot")?;
    let stdout = child.stdout.take().ok_or_else(|| BootError::Progress { source: io::ErrorKind::BrokenPipe.into() })?;
    Ok(Booted { events: BufReader::new(stdout) })
}

/// The boot process: makes the namespaces, starts the supervisor as pid 1 of them, reports its id and ends.
///
/// Standard input is the API listener and standard output takes [`Progress`] events; both pass on to the supervisor.
///
/// # Errors
/// Each was also reported as [`Progress::Failed`].
pub fn run_boot(args: &RoleArgs) -> Result<(), BootError> {
    let outcome = start_supervisor(args);
    if let Err(error) = &outcome {
        let reason = crate::machine::progress::chain(error);
        // Whoever waited may be gone; the error itself still goes to the log.
        let _ = Progress::Failed { reason }.write(&mut io::stdout());
    }
    outcome
}

fn start_supervisor(args: &RoleArgs) -> Result<(), BootError> {
    // Fails only for a process group leader, which is then already detached.
    let _ = setsid();
    if !Uid::effective().is_root() {
        unshare_user()?;
    }
    let namespaces =
        CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC;
    unshare(namespaces).map_err(|source| BootError::Namespaces { source })?;
    let child = spawn(&mut args.command("sandbox-supervisor"), "supervisor")?;
    let pid = child.id().cast_signed();
    Progress::Supervisor { pid }.write(&mut io::stdout()).map_err(|source| BootError::Progress { source })
}

/// Makes a user namespace in which this user is root.
fn unshare_user() -> Result<(), BootError> {
    let (uid, gid) = (Uid::effective(), Gid::effective());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|source| BootError::UserNamespace { source })?;
    write_map("/proc/self/setgroups", "deny")?;
    write_map("/proc/self/uid_map", &format!("0 {uid} 1"))?;
    write_map("/proc/self/gid_map", &format!("0 {gid} 1"))
}

fn write_map(path: &'static str, text: &str) -> Result<(), BootError> {
    let write = || File::options().write(true).open(path)?.write_all(text.as_bytes());
    write().map_err(|source| BootError::IdMap { path, source })
}

fn spawn(command: &mut Command, role: &'static str) -> Result<std::process::Child, BootError> {
    command.spawn().map_err(|source| BootError::Spawn { program: command.get_program().into(), role, source })
}
