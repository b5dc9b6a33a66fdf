//! Process 1 of a sandbox: makes the nodes, starts the roles, starts them again when they end, and takes all with it.
//!
//! It has no async runtime, and no thread but the one that stays outside once it runs: it waits for signals and restarts
//! what ended.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stdout};

use super::network::{self, NetworkError};
use super::node_namespaces::{NodeNamespaces, NodeNamespacesError};
use super::outside::Outside;
use super::progress::{Progress, chain};
use super::roles::RoleArgs;

/// A role that ran this long before it ended starts afresh at once.
const STEADY_AFTER: Duration = Duration::from_secs(10);
/// The longest pause before a role that keeps ending is started again.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The first pause.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// How long the roles may take to end when the sandbox goes down.
const GRACE: Duration = Duration::from_millis(1500);

/// Why the supervisor could not go on.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// There can be no network beside the host's.
    #[error("cannot make a network namespace")]
    Namespace {
        /// The cause.
        source: io::Error,
    },
    /// The network between the nodes cannot be made.
    #[error("cannot make the network of the nodes")]
    Network(#[from] NetworkError),
    /// A node's namespaces cannot be made.
    #[error("cannot make the namespaces of a node")]
    Node(#[from] NodeNamespacesError),
    /// Signals cannot be received.
    #[error("cannot receive signals")]
    Signals {
        /// The cause.
        source: Errno,
    },
    /// A role cannot be started.
    #[error("cannot start role {role}")]
    Start {
        /// Its name.
        role: String,
        /// The cause.
        source: io::Error,
    },
    /// The log of a role cannot be opened.
    #[error("cannot open log {path}")]
    Log {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The `up` that waits cannot be told.
    #[error("cannot report progress")]
    Progress {
        /// The cause.
        source: io::Error,
    },
}

/// Runs as process 1 until told to end by SIGTERM or SIGINT.
///
/// Standard input is the API server's listener on the host; standard output takes [`Progress`] events.
///
/// # Errors
/// What could not be made; it was also reported as [`Progress::Failed`].
pub fn run_supervisor(args: &RoleArgs) -> Result<(), SupervisorError> {
    let outcome = Supervisor::start(args);
    match outcome {
        Ok(mut supervisor) => supervisor.supervise(),
        Err(error) => {
            // Whoever waited may be gone; the error itself still goes to the log.
            let _ = Progress::Failed { reason: chain(&error) }.write(&mut io::stdout());
            Err(error)
        }
    }
}

struct Supervisor {
    args: RoleArgs,
    outside: Outside,
    nodes: Vec<NodeNamespaces>,
    roles: Vec<Role>,
    signals: SignalFd,
}

/// One process that must always run.
struct Role {
    name: String,
    kind: RoleKind,
    state: RoleState,
    pause: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RoleKind {
    ApiServer,
    Controllers,
    /// Answers nodes about the host's names.
    Names,
    /// The node with this index.
    Node(usize),
}

enum RoleState {
    Running { pid: Pid, since: Instant },
    Paused { until: Instant },
}

impl Supervisor {
    fn start(args: &RoleArgs) -> Result<Self, SupervisorError> {
        let signals = receive_signals().map_err(|source| SupervisorError::Signals { source })?;
        let outside = Outside::leave().map_err(|source| SupervisorError::Namespace { source })?;
        let nodes = NodeNamespaces::make_all(args)?;
        network::join_nodes(args.spec(), &nodes)?;
        report(&Progress::Nodes { nodes: nodes.iter().map(NodeNamespaces::label).collect() })?;
        let names = (!args.spec().is_isolated()).then_some(RoleKind::Names);
        let kinds = [RoleKind::ApiServer, RoleKind::Controllers].into_iter().chain(names);
        let kinds = kinds.chain((0..nodes.len()).map(RoleKind::Node));
        let mut supervisor = Self { args: args.clone(), outside, nodes, roles: Vec::new(), signals };
        for kind in kinds {
            let name = supervisor.role_name(kind);
            let state = RoleState::Running { pid: supervisor.spawn(kind, &name)?, since: Instant::now() };
            supervisor.roles.push(Role { name, kind, state, pause: FIRST_PAUSE });
        }
        report(&Progress::RolesStarted)?;
        // The pipe to `up` ends here; what is still printed goes to the log.
        let _ = dup2_stdout(io::stderr());
        Ok(supervisor)
    }

    fn role_name(&self, kind: RoleKind) -> String {
        match kind {
            RoleKind::ApiServer => "apiserver".to_owned(),
            RoleKind::Controllers => "controllers".to_owned(),
            RoleKind::Names => "names".to_owned(),
            RoleKind::Node(index) => self.nodes[index].name().to_owned(),
        }
    }

    fn spawn(&self, kind: RoleKind, name: &str) -> Result<Pid, SupervisorError> {
        let path = self.args.state().log_file(name);
        let log = File::options().create(true).append(true).open(&path);
        let log = log.map_err(|source| SupervisorError::Log { path, source })?;
        let mut command = match kind {
            RoleKind::ApiServer => self.args.command("apiserver"),
            RoleKind::Controllers => self.args.command("controllers"),
            RoleKind::Names => self.args.command("names"),
            RoleKind::Node(index) => self.nodes[index].command(&self.args),
        };
        let stdin = if kind == RoleKind::ApiServer { Stdio::inherit() } else { Stdio::null() };
        command.stdin(stdin).stdout(Stdio::null()).stderr(log);
        let child = if kind == RoleKind::Names { self.outside.spawn(command) } else { command.spawn() };
        let child = child.map_err(|source| SupervisorError::Start { role: name.to_owned(), source })?;
        Ok(Pid::from_raw(child.id().cast_signed()))
    }

    /// Waits for signals; restarts what ended; returns when asked to end.
    fn supervise(&mut self) -> Result<(), SupervisorError> {
        loop {
            if self.wait_for_signal(self.next_start()) {
                self.end_all();
                return Ok(());
            }
            self.reap();
            self.start_due();
        }
    }

    fn next_start(&self) -> Option<Instant> {
        let paused = self.roles.iter().filter_map(|role| match role.state {
            RoleState::Paused { until } => Some(until),
            RoleState::Running { .. } => None,
        });
        paused.min()
    }

    /// Waits until a signal arrives or `until` has come; true when the signal asks to end.
    fn wait_for_signal(&self, until: Option<Instant>) -> bool {
        let timeout = until.map_or(PollTimeout::NONE, |until| {
            let wait = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)
        });
        let mut waiting = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        if !matches!(poll(&mut waiting, timeout), Ok(ready) if ready > 0) {
            return false;
        }
        let signals = std::iter::from_fn(|| self.signals.read_signal().ok().flatten());
        signals.map(|signal| signal.ssi_signo.cast_signed()).any(|number| number != Signal::SIGCHLD as i32)
    }

    /// Takes every ended child, ours or orphaned to us.
    fn reap(&mut self) {
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            if matches!(status, WaitStatus::StillAlive) {
                return;
            }
            let ended = status.pid();
            for role in &mut self.roles {
                let RoleState::Running { pid, since } = role.state else { continue };
                if Some(pid) == ended {
                    role.pause_after(since.elapsed(), Instant::now());
                    tracing::warn!(role = role.name, ?status, "role ended, starting it again");
                }
            }
        }
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        for index in 0..self.roles.len() {
            let due = matches!(self.roles[index].state, RoleState::Paused { until } if until <= now);
            if !due {
                continue;
            }
            let started = self.spawn(self.roles[index].kind, &self.roles[index].name);
            let role = &mut self.roles[index];
            match started {
                Ok(pid) => role.state = RoleState::Running { pid, since: now },
                Err(error) => {
                    tracing::error!(role = role.name, error = chain(&error), "role does not start");
                    role.pause_after(Duration::ZERO, now);
                }
            }
        }
    }

    /// Asks every process of the sandbox to end and waits a moment; the kernel ends the rest when we return.
    fn end_all(&mut self) {
        tracing::info!("going down");
        let everyone = Pid::from_raw(-1);
        // Nobody left is as good as everybody told.
        let _ = kill(everyone, Signal::SIGTERM);
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            match waitpid(everyone, Some(WaitPidFlag::WNOHANG)) {
                Err(Errno::ECHILD) => return,
                Ok(WaitStatus::StillAlive) => {
                    self.wait_for_signal(Some(deadline));
                }
                _ => {}
            }
        }
    }
}

impl Role {
    /// Plans the next start after a run of `ran`: soon after a long run, later and later after short ones.
    fn pause_after(&mut self, ran: Duration, now: Instant) {
        let pause = if ran >= STEADY_AFTER { FIRST_PAUSE } else { self.pause };
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        self.state = RoleState::Paused { until: now + pause };
    }
}

fn receive_signals() -> Result<SignalFd, Errno> {
    let mut wanted = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT] {
        wanted.add(signal);
    }
    wanted.thread_block()?;
    SignalFd::with_flags(&wanted, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

fn report(event: &Progress) -> Result<(), SupervisorError> {
    event.write(&mut io::stdout()).map_err(|source| SupervisorError::Progress { source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role() -> Role {
        let state = RoleState::Paused { until: Instant::now() };
        Role { name: "x".into(), kind: RoleKind::Controllers, state, pause: FIRST_PAUSE }
    }

    fn pause_of(role: &Role, now: Instant) -> Duration {
        match role.state {
            RoleState::Paused { until } => until - now,
            RoleState::Running { .. } => panic!("runs"),
        }
    }

    #[test]
    fn a_role_that_keeps_ending_waits_longer_up_to_a_limit() {
        let (mut role, now) = (role(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..8 {
            role.pause_after(Duration::ZERO, now);
            pauses.push(pause_of(&role, now).as_millis());
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[test]
    fn a_role_that_ran_long_starts_again_soon() {
        let (mut role, now) = (role(), Instant::now());
        role.pause = LONGEST_PAUSE;
        role.pause_after(STEADY_AFTER, now);
        assert_eq!(pause_of(&role, now), FIRST_PAUSE);
    }
}
