//! A sandbox for a test: the real binary, a name, a state directory and a kubeconfig of its own, removed at the end.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a condition may take to come true on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// A place in which sandboxes can be brought up; dropping it takes them all down.
pub struct Place {
    folder: TempDir,
    network: Network,
}

/// Whether sandboxes may have a link from the network this process is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Network {
    /// No: it is the machine's own.
    Untouched,
    /// Yes: it is the test's.
    Own,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Said {
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
}

impl Place {
    /// A new place under the system's temporary directory.
    pub fn new() -> Self {
        Self::with(Network::Untouched)
    }

    /// A place whose sandboxes are joined with the network of this process, which must be the test's own.
    pub fn joined() -> Self {
        Self::with(Network::Own)
    }

    fn with(network: Network) -> Self {
        Self { folder: tempfile::Builder::new().prefix("fw").tempdir().unwrap(), network }
    }

    /// A name no other test uses.
    pub fn name(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        format!("t{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
    }

    /// Where sandboxes of this place keep their state.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The kubeconfig of this place.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// The binary with these arguments, kept away from everything of the user's.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fairway"));
        command.args(arguments).env("FAIRWAY_STATE_DIR", self.state()).env("KUBECONFIG", self.kubeconfig());
        match self.network {
            Network::Untouched => command.env("FAIRWAY_ISOLATED", "true"),
            Network::Own => command.env_remove("FAIRWAY_ISOLATED"),
        };
        command
    }

    /// Runs the binary.
    pub fn run(&self, arguments: &[&str]) -> Said {
        self.command(arguments).output().unwrap().into()
    }

    /// Runs the binary, which must succeed.
    pub fn succeed(&self, arguments: &[&str]) -> Said {
        let said = self.run(arguments);
        assert_eq!(said.code, 0, "fairway {arguments:?}\n{}\n{}", said.out, said.err);
        said
    }

    /// Brings a sandbox up and returns its name.
    pub fn up(&self, more: &[&str]) -> String {
        let name = self.name();
        self.succeed(&[&["up", "--name", &name], more].concat());
        name
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let said = self.run(&["down", "--all"]);
        if !std::thread::panicking() {
            assert_eq!(said.code, 0, "{}", said.err);
        }
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { out: text(output.stdout), err: text(output.stderr), code: output.status.code().unwrap_or(-1) }
    }
}

/// Waits until `condition` holds.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        #[expect(clippy::disallowed_methods, reason = "this loop is the wait for a condition")]
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Processes whose command line names this path.
pub fn processes_naming(path: &Path) -> Vec<i32> {
    let names = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&*path.to_string_lossy())
    };
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(names).collect()
}
