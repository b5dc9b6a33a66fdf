//! The process that looks after one container and outlives the node's runtime.
//!
//! The runtime writes a [`ContainerSpec`] into an empty directory and starts `fairway container-shim DIRECTORY`. The shim
//! starts the container, writes its output to the log, serves `attach` and `stop` on a unix socket and leaves the exit
//! status in a file. A runtime that comes back after a crash finds everything in the directory: see [`Place`].
//!
//! Three steps of one program, each a process with a single thread, so that none of it needs unsafe code:
//! `container-shim` (stays), `container-init` (becomes the container's process 1), `container-exec` (one command in a
//! running container).

mod capabilities;
mod carrier;
mod exec;
mod hub;
mod inherited;
mod init;
pub mod log;
mod place;
pub mod protocol;
mod resolve;
mod spec;
mod supervise;
mod terminal;

pub use carrier::Carrier;
pub use exec::{container_exec, container_exec_command};
pub use init::container_init;
pub use place::Place;
pub use resolve::{Missing, find_program};
pub use spec::{ContainerSpec, ExitStatus, Namespaces, Running, Started, Stdin};
pub use supervise::container_shim;
pub use terminal::{Terminal, resize};
