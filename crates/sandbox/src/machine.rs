//! The machine under a sandbox: its namespaces, its processes and how they end.
//!
//! ```text
//! up ──spawns──> boot ──unshares user pid mount uts ipc──> supervisor (pid 1 inside), unshares net
//!                                                                ├ bridge and one network namespace a node
//!                                                                ├ role apiserver   (root namespace of the sandbox)
//!                                                                ├ role controllers (the same)
//!                                                                ├ role names       (the host's network)
//!                                                                └ role node, one a node, inside the node's namespaces
//! ```
//!
//! Everything lives in the supervisor's pid namespace, so the kernel itself ends every process, namespace, interface and
//! mount when the supervisor ends, however it ends. What is left are files, and [`tear_down`] removes those.

mod boot;
mod enter;
mod host_link;
mod network;
mod node_namespaces;
mod outside;
mod preflight;
mod progress;
mod record;
mod roles;
mod spec;
mod supervisor;
mod teardown;
mod underlay;

pub use boot::{BootError, Booted, boot, run_boot};
pub use enter::{EnterError, enter_namespaces};
pub use host_link::{HostConnection, HostLink, HostLinkError, NotRouted, connect_host};
pub use preflight::{PreflightError, preflight};
pub use progress::Progress;
pub use record::{Record, RecordError, StateDir, list_records, process_start};
pub use roles::RoleArgs;
pub use spec::{InvalidSpec, Shape, Spec};
pub use supervisor::{SupervisorError, run_supervisor};
pub use teardown::{Removed, TeardownError, node_process, tear_down};
