//! What a sandbox keeps on disk: its state directory and the record of what runs.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::host_link::HostLink;
use super::spec::Spec;

/// `sun_path` holds 107 bytes and a terminator.
const MAX_SOCKET_PATH: usize = 107;

/// The directory of one sandbox: sockets, logs, certificates, the store and the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDir(PathBuf);

/// What runs, written when the supervisor stands and removed with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The shape asked for.
    pub spec: Spec,
    /// The supervisor's process id, as seen from outside.
    pub supervisor: i32,
    /// When that process started, in clock ticks since boot: tells it from a later process with the same id.
    pub started: u64,
    /// The API server's port on the host's loopback.
    pub api_port: u16,
    /// The kubeconfig that carries the context, and the context's name.
    pub kubeconfig: PathBuf,
    /// The context's name.
    pub context: String,
    /// The link by which the host reaches it, where there is one.
    #[serde(default)]
    pub host_link: Option<HostLink>,
}

/// Why the state of a sandbox cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A file or directory cannot be made, read or removed.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The record is not one of ours.
    #[error("{path} is not the record of a sandbox; remove its directory if no sandbox runs there")]
    Malformed {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// Neither a home nor a state directory is known.
    #[error("no place for state: set XDG_STATE_HOME or HOME")]
    NoHome,
    /// Sockets below the directory would have too long a path.
    #[error("state directory {path} is too long for sockets in it; set XDG_STATE_HOME to a shorter path")]
    TooLong {
        /// The directory.
        path: PathBuf,
    },
}

impl StateDir {
    /// The directory of the sandbox `name` below `root`.
    ///
    /// # Errors
    /// When the sockets in it would have too long a path.
    pub fn new(root: &Path, name: &str) -> Result<Self, RecordError> {
        let dir = Self(root.join(name));
        if dir.node_socket("node100").as_os_str().len() > MAX_SOCKET_PATH {
            return Err(RecordError::TooLong { path: dir.0 });
        }
        Ok(dir)
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The record of what runs.
    pub fn record_file(&self) -> PathBuf {
        self.0.join("sandbox.json")
    }

    /// Held locked by whoever brings the sandbox up or down.
    pub fn lock_file(&self) -> PathBuf {
        self.0.with_extension("lock")
    }

    /// The API server's trusted socket.
    pub fn api_socket(&self) -> PathBuf {
        self.0.join("apiserver.sock")
    }

    /// The API server's store and certificates.
    pub fn api_dir(&self) -> PathBuf {
        self.0.join("apiserver")
    }

    /// The directory of one node.
    pub fn node_dir(&self, node: &str) -> PathBuf {
        self.0.join("nodes").join(node)
    }

    /// The socket on which a node serves logs, exec and attach.
    pub fn node_socket(&self, node: &str) -> PathBuf {
        self.node_dir(node).join("kubelet.sock")
    }

    /// The log file of one process.
    pub fn log_file(&self, process: &str) -> PathBuf {
        self.0.join("log").join(format!("{process}.log"))
    }

    /// Makes the directory and those below it, open to the owner alone.
    ///
    /// # Errors
    /// Names what could not be made, e.g. on a full disk.
    pub fn create(&self, spec: &Spec) -> Result<(), RecordError> {
        let below = [self.0.join("log"), self.api_dir()];
        for path in below.into_iter().chain(spec.node_names().map(|node| self.node_dir(&node))) {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(|source| RecordError::File {
                action: "make directory",
                path: path.clone(),
                source,
            })?;
        }
        Ok(())
    }

    /// Writes the record so that a reader sees the old or the new one, never half of it.
    ///
    /// # Errors
    /// Names what could not be written.
    pub fn write_record(&self, record: &Record) -> Result<(), RecordError> {
        let path = self.record_file();
        let draft = path.with_extension("json.new");
        let failed = |action| move |path: PathBuf| move |source| RecordError::File { action, path, source };
        let text = serde_json::to_vec_pretty(record)
            .map_err(|source| RecordError::Malformed { path: path.clone(), source })?;
        fs::write(&draft, text).map_err(failed("write")(draft.clone()))?;
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o600)).map_err(failed("protect")(draft.clone()))?;
        fs::rename(&draft, &path).map_err(failed("write")(path.clone()))
    }

    /// The record, if the sandbox exists.
    ///
    /// # Errors
    /// When it exists but cannot be read.
    pub fn read_record(&self) -> Result<Option<Record>, RecordError> {
        let path = self.record_file();
        match fs::read(&path) {
            Ok(text) => {
                serde_json::from_slice(&text).map(Some).map_err(|source| RecordError::Malformed { path, source })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(RecordError::File { action: "read", path, source }),
        }
    }
}

/// The sandboxes below `root`, by name; those whose record cannot be read are left out.
pub fn list_records(root: &Path) -> Vec<(StateDir, Record)> {
    let names =
        fs::read_dir(root).into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut found: Vec<_> = names
        .filter_map(|name| StateDir::new(root, &name).ok())
        .filter_map(|dir| dir.read_record().ok().flatten().map(|record| (dir, record)))
        .collect();
    found.sort_by(|(first, _), (second, _)| first.path().cmp(second.path()));
    found
}

impl Record {
    /// Whether the supervisor of this record still runs.
    pub fn is_running(&self) -> bool {
        process_start(self.supervisor).is_some_and(|started| started == self.started)
    }
}

/// When a process started, in clock ticks since boot (`/proc/PID/stat`, field 22); `None` when it is gone or a zombie.
pub fn process_start(pid: i32) -> Option<u64> {
    start_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// A zombie with threads (field 20) has not ended: its first thread has, and another one may still wait for the end of
/// what process 1 takes along.
fn start_in(stat: &str) -> Option<u64> {
    let after_name = &stat[stat.rfind(')')? + 1..];
    let mut fields = after_name.split_ascii_whitespace();
    let state = fields.next()?;
    let threads: u32 = fields.nth(16)?.parse().ok()?;
    let has_ended = state == "X" || (state == "Z" && threads <= 1);
    if has_ended { None } else { fields.nth(1)?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Shape;

    fn spec() -> Spec {
        Spec::new(Shape { name: "x".into(), ..Shape::default() }).unwrap()
    }

    #[test]
    fn a_process_has_ended_when_its_last_thread_has() {
        let stat = |state: &str, threads: u32| {
            format!(
                "7 (a) b) {state} 1 2 3 0 -1 4228364 0 0 0 0 1 2 0 0 20 0 {threads} 0 4711 0 0 18446744073709551615"
            )
        };
        assert_eq!(start_in(&stat("S", 2)), Some(4711));
        assert_eq!(start_in(&stat("Z", 2)), Some(4711), "its first thread has ended, another one runs");
        assert_eq!(start_in(&stat("Z", 1)), None);
        assert_eq!(start_in(&stat("X", 1)), None);
        assert_eq!(process_start(std::process::id().cast_signed()).map(|start| start > 0), Some(true));
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::new(root.path(), "x").unwrap();
        assert_eq!(dir.read_record().unwrap(), None);
        dir.create(&spec()).unwrap();
        let record = Record {
            spec: spec(),
            supervisor: 1,
            started: 2,
            api_port: 6443,
            kubeconfig: "/tmp/config".into(),
            context: "fairway".into(),
            host_link: None,
        };
        dir.write_record(&record).unwrap();
        assert_eq!(dir.read_record().unwrap(), Some(record.clone()));
        assert_eq!(list_records(root.path()), [(dir, record)]);
    }

    #[test]
    fn a_broken_record_is_an_error_that_names_the_file() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::new(root.path(), "x").unwrap();
        dir.create(&spec()).unwrap();
        fs::write(dir.record_file(), "{").unwrap();
        let error = dir.read_record().unwrap_err();
        assert!(error.to_string().contains("sandbox.json is not the record of a sandbox"), "{error}");
    }

    #[test]
    fn this_process_is_found_running_and_an_unused_id_is_not() {
        let own = std::process::id().try_into().unwrap();
        assert!(process_start(own).is_some());
        assert_eq!(process_start(i32::MAX), None);
    }

    #[test]
    fn a_state_directory_too_deep_for_sockets_is_refused() {
        let deep = PathBuf::from("/").join("d".repeat(100));
        assert!(matches!(StateDir::new(&deep, "x"), Err(RecordError::TooLong { .. })));
    }
}
