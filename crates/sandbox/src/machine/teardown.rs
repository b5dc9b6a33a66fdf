//! Down: every process, namespace, interface, mount and file of a sandbox goes, whatever state it was left in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::record::{Record, RecordError, StateDir};

/// How long the supervisor may take before it is killed.
const GRACE: Duration = Duration::from_secs(4);
/// How long the kernel may take to end the processes of a killed supervisor.
const KILL_WAIT: Duration = Duration::from_secs(10);
/// How often an ending supervisor is looked at.
const POLL: Duration = Duration::from_millis(5);

/// What a sandbox left behind when it went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Processes that ran when it began.
    pub processes: usize,
    /// Network namespaces they kept.
    pub network_namespaces: usize,
    /// Files and directories deleted.
    pub files: usize,
}

/// Why something is still there.
#[derive(Debug, thiserror::Error)]
pub enum TeardownError {
    /// The record cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The supervisor cannot be signalled.
    #[error("cannot end supervisor {pid}; is it another user's sandbox?")]
    Signal {
        /// Its process id.
        pid: i32,
        /// The cause.
        source: Errno,
    },
    /// The supervisor still runs after SIGKILL.
    #[error("supervisor {pid} still runs {}s after SIGKILL", KILL_WAIT.as_secs())]
    StillRunning {
        /// Its process id.
        pid: i32,
    },
    /// A file or directory cannot be deleted.
    #[error("cannot delete {path}")]
    Delete {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Ends the sandbox in `state` and deletes its directory; works after a crash and twice.
///
/// # Errors
/// What could not be ended or deleted.
pub fn tear_down(state: &StateDir) -> Result<Removed, TeardownError> {
    let mut removed = Removed::default();
    // An unreadable record must not keep the directory alive: without a supervisor there is nothing but files.
    let record = state.read_record().unwrap_or_default();
    if let Some(record) = record.as_ref().filter(|record| record.is_running()) {
        let (processes, network_namespaces) = census(record.supervisor);
        removed = Removed { processes, network_namespaces, files: 0 };
        end_supervisor(record)?;
    }
    if let Some(link) = record.and_then(|record| record.host_link) {
        link.remove(state);
    }
    removed.files = count_files(state.path());
    match fs::remove_dir_all(state.path()) {
        Ok(()) => Ok(removed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(removed),
        Err(source) => Err(TeardownError::Delete { path: state.path().to_owned(), source }),
    }
}

fn end_supervisor(record: &Record) -> Result<(), TeardownError> {
    let pid = record.supervisor;
    for (signal, wait) in [(Signal::SIGTERM, GRACE), (Signal::SIGKILL, KILL_WAIT)] {
        match kill(Pid::from_raw(pid), signal) {
            Ok(()) => {}
            Err(Errno::ESRCH) => return Ok(()),
            Err(source) => return Err(TeardownError::Signal { pid, source }),
        }
        if wait_for_end(record, wait) {
            return Ok(());
        }
    }
    Err(TeardownError::StillRunning { pid })
}

/// Whether the supervisor ended within `wait`. Process 1 ends only after everything in its pid namespace has.
fn wait_for_end(record: &Record, wait: Duration) -> bool {
    let deadline = Instant::now() + wait;
    while record.is_running() {
        if Instant::now() >= deadline {
            return false;
        }
        #[expect(clippy::disallowed_methods, reason = "no child of ours, so its end can only be polled for")]
        std::thread::sleep(POLL);
    }
    true
}

/// The supervisor's process tree, and how many network namespaces beside the caller's it is in.
fn census(supervisor: i32) -> (usize, usize) {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let parents: BTreeMap<i32, i32> = pids.filter_map(|pid| Some((pid, parent_of(pid)?))).collect();
    let inside: Vec<i32> = parents.keys().copied().filter(|pid| descends(*pid, supervisor, &parents)).collect();
    let network = |pid: &i32| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let own = fs::read_link("/proc/self/ns/net").ok();
    let networks: BTreeSet<PathBuf> =
        inside.iter().filter_map(network).filter(|each| Some(each) != own.as_ref()).collect();
    (inside.len(), networks.len())
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 1..].split_ascii_whitespace().nth(1)?.parse().ok()
}

fn descends(pid: i32, ancestor: i32, parents: &BTreeMap<i32, i32>) -> bool {
    std::iter::successors(Some(pid), |pid| parents.get(pid).copied()).any(|pid| pid == ancestor)
}

/// The process that runs a node, as seen from outside; `None` while it is being started again.
pub fn node_process(record: &Record, node: &str) -> Option<i32> {
    let path = format!("/proc/{0}/task/{0}/children", record.supervisor);
    let children = fs::read_to_string(path).ok()?;
    let runs_node = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        words.windows(2).any(|pair| pair == [b"--node-name".as_slice(), node.as_bytes()])
    };
    children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).find(runs_node)
}

fn count_files(path: &Path) -> usize {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .map(|entry| 1 + if entry.file_type().is_ok_and(|kind| kind.is_dir()) { count_files(&entry.path()) } else { 0 })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_up_goes_down_without_a_word() {
        let root = tempfile::tempdir().unwrap();
        let state = StateDir::new(root.path(), "x").unwrap();
        assert_eq!(tear_down(&state).unwrap(), Removed::default());
    }

    #[test]
    fn files_of_a_dead_sandbox_go_even_when_its_record_is_broken() {
        let root = tempfile::tempdir().unwrap();
        let state = StateDir::new(root.path(), "x").unwrap();
        fs::create_dir_all(state.node_dir("node1")).unwrap();
        fs::write(state.record_file(), "{").unwrap();
        assert_eq!(tear_down(&state).unwrap(), Removed { files: 3, ..Removed::default() });
        assert!(!state.path().exists());
    }

    #[test]
    fn a_process_tree_is_counted_from_its_root() {
        let mut child = std::process::Command::new("sh").args(["-c", "sleep 60 & wait"]).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let pid = child.id().cast_signed();
        while census(pid).0 < 2 && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert_eq!(census(pid), (2, 0), "they are in the network of this test");
        let grandchild = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        kill(Pid::from_raw(grandchild.trim().parse().unwrap()), Signal::SIGKILL).unwrap();
        child.wait().unwrap();
    }
}
