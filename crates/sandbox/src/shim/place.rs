//! The directory of one container.

use std::io;
use std::path::{Path, PathBuf};

use crate::json_file;

use super::spec::{ContainerSpec, ExitStatus, Running};

/// The directory of one container and the files in it. Files appear whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    directory: PathBuf,
}

impl Place {
    /// The place at `directory`, whether it exists or not.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// The directory itself.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The socket on which the shim serves [`super::protocol`].
    pub fn socket(&self) -> PathBuf {
        self.directory.join("shim.sock")
    }

    /// The socket on which the shim waits for the container's first process.
    pub fn start_socket(&self) -> PathBuf {
        self.directory.join("start.sock")
    }

    /// The directory on which the container mounts its root.
    pub fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    /// Reads the specification.
    pub fn spec(&self) -> io::Result<ContainerSpec> {
        json_file::read(&self.directory.join("spec.json"))
    }

    /// Writes the specification.
    pub fn write_spec(&self, spec: &ContainerSpec) -> io::Result<()> {
        json_file::write(&self.directory.join("spec.json"), spec)
    }

    /// Reads what is known of the container's process; absent until it started.
    pub fn running(&self) -> io::Result<Running> {
        json_file::read(&self.directory.join("running.json"))
    }

    /// Notes that the container started.
    pub fn write_running(&self, running: &Running) -> io::Result<()> {
        json_file::write(&self.directory.join("running.json"), running)
    }

    /// Whether anybody has ever been shown the container's output as it came.
    pub fn was_attached(&self) -> bool {
        self.directory.join("attached").exists()
    }

    /// Notes that somebody is about to be shown the container's output.
    pub fn note_attached(&self) -> io::Result<()> {
        std::fs::write(self.directory.join("attached"), b"")
    }

    /// Reads how the container ended; absent until it did.
    pub fn exit(&self) -> io::Result<ExitStatus> {
        json_file::read(&self.directory.join("exit.json"))
    }

    /// Notes that the container ended.
    pub fn write_exit(&self, exit: &ExitStatus) -> io::Result<()> {
        json_file::write(&self.directory.join("exit.json"), exit)
    }
}
