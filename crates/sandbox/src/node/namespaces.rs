//! The namespaces that a pod's containers share.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use datapath::netns;
use datapath::route::{RouteError, Rtnetlink};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::sethostname;

use crate::shim::Namespaces;

/// A pod's namespaces could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum NamespacesError {
    /// The kernel refused to make them.
    #[error("cannot make namespaces")]
    Make {
        /// Why.
        #[source]
        source: Errno,
    },
    /// The host name was refused.
    #[error("cannot set host name {name:?}")]
    HostName {
        /// The name.
        name: String,
        /// Why.
        #[source]
        source: Errno,
    },
    /// The loopback interface stays down.
    #[error("cannot set the loopback interface up")]
    Loopback {
        /// Why.
        #[source]
        source: RouteError,
    },
    /// There is no netlink.
    #[error("cannot talk to the kernel about links")]
    Netlink {
        /// Why.
        #[source]
        source: datapath::NetlinkError,
    },
    /// A namespace could not be kept.
    #[error("cannot bind a namespace to {path}")]
    Bind {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A namespace could not be given up.
    #[error("cannot remove the namespace at {path}")]
    Remove {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Where a pod's namespaces are bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Network, at the place CNI plugins are given.
    pub network: PathBuf,
    /// Host name.
    pub uts: PathBuf,
    /// Queues.
    pub ipc: PathBuf,
}

impl Places {
    fn all(&self) -> [(&'static str, &Path); 3] {
        [("net", &self.network), ("uts", &self.uts), ("ipc", &self.ipc)]
    }

    /// As containers join them.
    pub fn as_namespaces(&self) -> Namespaces {
        Namespaces { network: Some(self.network.clone()), uts: Some(self.uts.clone()), ipc: Some(self.ipc.clone()) }
    }

    /// Makes the namespaces, with the loopback interface up and this host name. Takes a thread, and some milliseconds.
    ///
    /// After a failure nothing is left.
    pub fn make(&self, host_name: &str) -> Result<(), NamespacesError> {
        let made = thread::scope(|scope| {
            // A thread of its own: it stays in the new namespaces for good.
            let maker = scope.spawn(|| self.make_on_this_thread(host_name));
            maker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        if made.is_err() {
            // The first failure is the one worth telling.
            let _ = self.remove();
        }
        made
    }

    fn make_on_this_thread(&self, host_name: &str) -> Result<(), NamespacesError> {
        let kinds = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC;
        unshare(kinds).map_err(|source| NamespacesError::Make { source })?;
        sethostname(host_name).map_err(|source| NamespacesError::HostName { name: host_name.to_owned(), source })?;
        let mut links = Rtnetlink::open().map_err(|source| NamespacesError::Netlink { source })?;
        links
            .require_link("lo")
            .and_then(|loopback| links.set_up(loopback.index))
            .map_err(|source| NamespacesError::Loopback { source })?;
        for (kind, path) in self.all() {
            bind(kind, path).map_err(|source| NamespacesError::Bind { path: path.to_path_buf(), source })?;
        }
        Ok(())
    }

    /// Gives the namespaces up: they end with their last process. Succeeds where there is nothing.
    pub fn remove(&self) -> Result<(), NamespacesError> {
        let removed = netns::remove(&self.network)
            .map_err(|error| NamespacesError::Remove { path: self.network.clone(), source: io::Error::other(error) });
        for path in [&self.uts, &self.ipc] {
            unbind(path).map_err(|source| NamespacesError::Remove { path: path.clone(), source })?;
        }
        removed
    }
}

fn bind(kind: &str, path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, b"")?;
    let namespace = format!("/proc/thread-self/ns/{kind}");
    Ok(mount(Some(namespace.as_str()), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?)
}

fn unbind(path: &Path) -> io::Result<()> {
    match umount2(path, MntFlags::MNT_DETACH) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
