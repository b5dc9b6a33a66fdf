//! One node's namespaces: network, mount and uts, made once and entered by every process of the node.

use std::env;
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use datapath::Netns;
use datapath::netns::NetnsError;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::sethostname;

use super::enter::supervisor_descriptor;
use super::roles::RoleArgs;
use crate::images;
use crate::node::names::Resolver;
use crate::rootfs::{self, Bind, Purpose, Root, RootError};

/// The namespaces of one node, alive as long as this value or a process in them.
#[derive(Debug)]
pub struct NodeNamespaces {
    name: String,
    addresses: Vec<IpAddr>,
    network: Netns,
    mount: File,
    uts: File,
}

/// Why a node has no namespaces.
#[derive(Debug, thiserror::Error)]
pub enum NodeNamespacesError {
    /// The kernel refuses.
    #[error("cannot {action} for {node}")]
    Refused {
        /// What was tried.
        action: &'static str,
        /// The node.
        node: String,
        /// The cause.
        source: nix::Error,
    },
    /// A namespace that was just made cannot be held.
    #[error("cannot hold namespace {kind} of {node}")]
    Hold {
        /// Which kind.
        kind: &'static str,
        /// The node.
        node: String,
        /// The cause.
        source: io::Error,
    },
    /// The network namespace cannot be held.
    #[error("cannot hold the network namespace of {node}")]
    Network {
        /// The node.
        node: String,
        /// The cause.
        source: NetnsError,
    },
    /// The node's files cannot be laid out.
    #[error("cannot lay out the files of {node}")]
    Files {
        /// The node.
        node: String,
        /// The cause.
        source: LayOutError,
    },
}

/// Why a node's files cannot be laid out.
#[derive(Debug, thiserror::Error)]
pub enum LayOutError {
    /// There is no place for the root.
    #[error("cannot make directory {path}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// This binary cannot be found.
    #[error("cannot find this program")]
    Program {
        /// The cause.
        source: io::Error,
    },
    /// The root cannot be built or entered.
    #[error(transparent)]
    Root(#[from] RootError),
}

impl NodeNamespaces {
    /// Makes the namespaces of every node of the sandbox, all at once.
    ///
    /// # Errors
    /// The first node that could not be made.
    pub fn make_all(args: &RoleArgs) -> Result<Vec<Self>, NodeNamespacesError> {
        detach_mounts()?;
        let names: Vec<String> = args.spec().node_names().collect();
        thread::scope(|scope| {
            let makers: Vec<_> = names
                .iter()
                .enumerate()
                .map(|(index, name)| scope.spawn(move || Self::make(args, index, name)))
                .collect();
            makers
                .into_iter()
                .map(|maker| maker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        })
    }

    /// Makes one node on the calling thread, which must be given up afterwards: it stays in the node.
    fn make(args: &RoleArgs, index: usize, name: &str) -> Result<Self, NodeNamespacesError> {
        let refused = |action| move |source| NodeNamespacesError::Refused { action, node: name.to_owned(), source };
        let kinds = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS;
        unshare(kinds).map_err(refused("make namespaces"))?;
        sethostname(name).map_err(refused("set the host name"))?;
        let hold = |kind| {
            let path = Path::new("/proc/thread-self/ns").join(kind);
            File::open(path).map_err(|source| NodeNamespacesError::Hold { kind, node: name.to_owned(), source })
        };
        let (mount, uts) = (hold("mnt")?, hold("uts")?);
        let network =
            Netns::current().map_err(|source| NodeNamespacesError::Network { node: name.to_owned(), source })?;
        lay_out(args, name).map_err(|source| NodeNamespacesError::Files { node: name.to_owned(), source })?;
        Ok(Self { name: name.to_owned(), addresses: args.spec().node_addresses(index), network, mount, uts })
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its network namespace.
    pub const fn network(&self) -> &Netns {
        &self.network
    }

    /// Name and first address, for people.
    pub fn label(&self) -> (String, String) {
        (self.name.clone(), self.addresses[0].to_string())
    }

    /// The role `node` of this node: it enters the namespaces before anything else.
    pub fn command(&self, args: &RoleArgs) -> Command {
        let mut command = args.command("node");
        command.arg("--node-name").arg(&self.name);
        for address in &self.addresses {
            command.arg("--node-ip").arg(address.to_string());
        }
        for path in self.descriptors() {
            command.arg("--enter").arg(path);
        }
        command
    }

    /// Where processes of the sandbox find the namespaces: the mount namespace last, since it changes all paths.
    fn descriptors(&self) -> [PathBuf; 3] {
        use std::os::fd::AsFd;
        [self.network.as_fd().as_raw_fd(), self.uts.as_raw_fd(), self.mount.as_raw_fd()].map(supervisor_descriptor)
    }
}

/// Cuts the ties between our mounts and the host's, and shows the processes of our own pid namespace in `/proc`.
fn detach_mounts() -> Result<(), NodeNamespacesError> {
    let refused =
        |action| move |source| NodeNamespacesError::Refused { action, node: "the sandbox".to_owned(), source };
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).map_err(refused("detach mounts"))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>).map_err(refused("mount /proc"))
}

/// Gives the calling thread the private root of a node; the state directory keeps its path there.
fn lay_out(args: &RoleArgs, name: &str) -> Result<(), LayOutError> {
    let at = args.state().node_dir(name).join("root");
    fs::create_dir_all(&at).map_err(|source| LayOutError::Directory { path: at.clone(), source })?;
    let program = env::current_exe().map_err(|source| LayOutError::Program { source })?;
    let mut binds = vec![Bind::writable(args.state().path(), args.state().path())];
    if !args.spec().is_isolated() {
        binds.push(Bind::writable(name_servers(args, name)?, "/etc/resolv.conf"));
    }
    let root = Root {
        at: &at,
        program: &program,
        program_names: &[],
        tool_names: &images::tool_names(),
        purpose: Purpose::Node,
        binds: &binds,
    };
    root.build()?;
    Ok(rootfs::enter(&at)?)
}

/// Writes the node's `resolv.conf`: the host's, with the router in place of its servers, which nodes do not reach.
fn name_servers(args: &RoleArgs, name: &str) -> Result<PathBuf, LayOutError> {
    let mut resolver = Resolver::parse(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    resolver.name_servers = args.spec().gateways().iter().map(ToString::to_string).collect();
    let path = args.state().node_dir(name).join("resolv.conf");
    let written = fs::write(&path, resolver.to_file());
    written.map(|()| path.clone()).map_err(|source| LayOutError::Write { path, source })
}
