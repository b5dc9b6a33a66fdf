//! What a container is and what becomes of it, as files tell it.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::images::StopSignal;
use crate::rootfs::{Bind, Purpose};

/// Everything the shim needs to know to run a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// The program and its arguments. A program without a slash is looked up in the container's `PATH`.
    pub arguments: Vec<String>,
    /// The environment, in order, without duplicates.
    pub environment: Vec<(String, String)>,
    /// Where the program starts; made if missing.
    pub working_directory: PathBuf,
    /// Whether it runs on a terminal.
    pub terminal: bool,
    /// What its standard input is.
    pub stdin: Stdin,
    /// The pod's namespaces.
    pub namespaces: Namespaces,
    /// What it may do to the kernel.
    pub purpose: Purpose,
    /// Capabilities beyond the usual ones, and those taken away, without `CAP_`.
    pub capabilities: (Vec<String>, Vec<String>),
    /// Volumes and files of the pod.
    pub binds: Vec<Bind>,
    /// Links at the top of the root: path and the built-in program it leads to.
    pub links: Vec<(PathBuf, String)>,
    /// The name of the node, for programs that tell who answered.
    pub node_name: String,
    /// The signal that asks it to end.
    pub stop_signal: StopSignal,
    /// Where its output goes, in the form of [`super::log`].
    pub log: PathBuf,
}

/// What a container reads from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdin {
    /// Nothing.
    Closed,
    /// Whoever attaches; it ends with the first of them.
    Once,
    /// Whoever attaches, one after the other.
    Open,
}

/// Files that stand for namespaces a container joins; `None` is the node's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// Network.
    pub network: Option<PathBuf>,
    /// Host name.
    pub uts: Option<PathBuf>,
    /// System V and POSIX queues.
    pub ipc: Option<PathBuf>,
}

/// A container that has been started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Its process 1, in the pid namespace of the node.
    pub pid: i32,
    /// The shim's own process.
    pub shim_pid: i32,
    /// When it started.
    pub started_at: Timestamp,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitStatus {
    /// Its exit code; 128 plus the signal if one ended it.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Why it could not even start.
    pub start_error: Option<String>,
}

/// What the shim says on its standard output once the container runs or has failed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Started {
    /// It runs.
    Running(Running),
    /// It does not; [`ExitStatus::start_error`] says why.
    Failed(ExitStatus),
}
