//! One kubectl, kept away from everything of the user's.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::Said;

/// No command here takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A kubectl of one version with a namespace of its own.
pub struct Kubectl {
    path: PathBuf,
    kubeconfig: PathBuf,
    home: TempDir,
    /// `1.32` or so.
    pub label: String,
    pub namespace: String,
}

impl Kubectl {
    pub fn new(path: PathBuf, kubeconfig: &Path) -> Self {
        let home = TempDir::new().unwrap();
        let mut kubectl =
            Self { path, kubeconfig: kubeconfig.to_owned(), home, label: String::new(), namespace: String::new() };
        let said = kubectl.run("version --client -o json");
        let version: Value = serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {}", said.err));
        let version = &version["clientVersion"];
        kubectl.label = format!("{}.{}", version["major"].as_str().unwrap(), version["minor"].as_str().unwrap());
        kubectl.namespace = format!("kubectl-{}", kubectl.label.replace(['.', '+'], "-"));
        kubectl
    }

    pub fn make_namespace(&self) {
        self.ok(&format!("create namespace {}", self.namespace));
    }

    /// A name no other version uses, for what lives outside namespaces.
    pub fn unique(&self, name: &str) -> String {
        format!("{name}-{}", self.label.replace(['.', '+'], "-"))
    }

    /// The command; words are parted by spaces, single quotes keep them together.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(&self.path);
        command.env("HOME", self.home.path()).env("KUBECONFIG", &self.kubeconfig).env_remove("KUBECACHEDIR");
        if !self.namespace.is_empty() {
            command.args(["--namespace", &self.namespace]);
        }
        command.args(words(line));
        command
    }

    pub fn run(&self, line: &str) -> Said {
        self.feed(line, "")
    }

    /// Runs it with something to read.
    pub fn feed(&self, line: &str, input: &str) -> Said {
        finish(self.command(line), input, line)
    }

    /// Runs it with another editor than the user's.
    pub fn edit(&self, line: &str, editor: &str) -> Said {
        let mut command = self.command(line);
        command.env("KUBE_EDITOR", editor);
        finish(command, "", line)
    }

    /// What it printed; it must succeed.
    pub fn ok(&self, line: &str) -> String {
        succeeded(self.run(line), line)
    }

    /// What it printed for this input; it must succeed.
    pub fn ok_with(&self, line: &str, input: &str) -> String {
        succeeded(self.feed(line, input), line)
    }

    /// What it complained about; it must fail with code 1.
    pub fn refused(&self, line: &str) -> String {
        refused(self.run(line), line)
    }

    /// What it complained about for this input; it must fail with code 1.
    pub fn refused_with(&self, line: &str, input: &str) -> String {
        refused(self.feed(line, input), line)
    }

    /// The object as JSON.
    pub fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(&format!("{line} -o json"))).unwrap()
    }

    /// Runs it again and again until what it printed is as wanted.
    pub fn eventually(&self, line: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = self.run(line);
            if said.code == 0 && wanted(&said.out) {
                return said.out;
            }
            assert!(Instant::now() < deadline, "kubectl {line} never said what was wanted:\n{}{}", said.out, said.err);
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// A deployment whose pods are all in service.
    pub fn deploy(&self, name: &str, replicas: u32) {
        self.ok(&format!("create deployment {name} --image=agnhost --replicas={replicas} -- /agnhost netexec"));
        self.ok(&format!("rollout status deployment/{name} --timeout=60s"));
    }

    /// Starts it and follows what it prints.
    pub fn follow(&self, line: &str) -> Following {
        Following::start(self.command(line), line)
    }
}

/// A command that goes on until it is dropped.
pub struct Following {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    what: String,
}

impl Following {
    fn start(mut command: Command, what: &str) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines, seen: Vec::new(), what: what.to_owned() }
    }

    /// Waits for a line.
    pub fn until(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if wanted(&line) => return line,
                Ok(line) => self.seen.push(line),
                Err(_) => panic!("kubectl {} printed only:\n{}", self.what, self.seen.join("\n")),
            }
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end, or kills it when it hangs.
pub fn finish(mut command: Command, input: &str, what: &str) -> Said {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kubectl runs");
    let pid = Pid::from_raw(child.id().try_into().unwrap());
    // A command that does not read ends with its input unread.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let (sender, done) = channel();
    thread::spawn(move || sender.send(child.wait_with_output()));
    match done.recv_timeout(PATIENCE) {
        Ok(output) => output.unwrap().into(),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            let _ = kill(pid, Signal::SIGKILL);
            panic!("kubectl {what} hangs")
        }
    }
}

/// What it printed; it must have succeeded.
pub fn succeeded(said: Said, line: &str) -> String {
    assert_eq!(said.code, 0, "kubectl {line}\n{}{}", said.out, said.err);
    said.out
}

fn refused(said: Said, line: &str) -> String {
    assert_eq!(said.code, 1, "kubectl {line}\n{}{}", said.out, said.err);
    said.err
}

/// Parts a line into words; single quotes keep words together.
pub fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('\'').enumerate() {
        if index % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// The columns of a line of a table, which are at least two spaces apart.
pub fn columns(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

/// The headers of a table.
pub fn headers(table: &str) -> Vec<&str> {
    columns(table.lines().next().unwrap_or_default())
}

/// Reads everything until the end.
pub fn read_all(mut source: impl Read) -> String {
    let mut bytes = Vec::new();
    // A terminal whose other end is closed ends with an error.
    let _ = source.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}
