//! Network namespaces: make, open, remove, and run a closure inside one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

/// The calling thread's own network namespace.
const OWN_NAMESPACE: &str = "/proc/thread-self/ns/net";

/// A namespace operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// The kernel would not make one.
    #[error("cannot make a network namespace")]
    Create {
        /// Why; `EPERM` without `CAP_SYS_ADMIN` in the user namespace.
        #[source]
        source: io::Error,
    },
    /// It was made but could not be put in its place.
    #[error("cannot bind a network namespace to {path}")]
    Bind {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is none at this path.
    #[error("cannot open the network namespace {path}")]
    Open {
        /// Where it was looked for.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A thread could not enter it.
    #[error("cannot enter the network namespace")]
    Enter {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It could not be taken away from its path.
    #[error("cannot remove the network namespace {path}")]
    Remove {
        /// Where it is.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A network namespace, kept alive by this value.
#[derive(Debug)]
pub struct Netns {
    file: OwnedFd,
}

impl Netns {
    /// Makes a namespace with no name: it lives as long as this value, its processes and its sockets.
    pub fn create() -> Result<Self, NetnsError> {
        in_new_namespace(|| open_own().map_err(|source| NetnsError::Create { source }))
    }

    /// Makes a namespace and binds it to `path`, which must not exist; it lives until [`remove`].
    ///
    /// On failure nothing is left at `path`.
    pub fn create_at(path: &Path) -> Result<Self, NetnsError> {
        let failed = |source| NetnsError::Bind { path: path.to_owned(), source };
        OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
        let bound = in_new_namespace(|| {
            mount(Some(OWN_NAMESPACE), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                .map_err(|errno| failed(errno.into()))?;
            Self::open(path)
        });
        if bound.is_err() {
            // The first failure is the one worth telling; the leftover is an empty file.
            let _ = remove(path);
        }
        bound
    }

    /// Opens the namespace bound to `path`, or of a process when `path` is its `/proc/PID/ns/net`.
    pub fn open(path: &Path) -> Result<Self, NetnsError> {
        let file = File::open(path).map_err(|source| NetnsError::Open { path: path.to_owned(), source })?;
        Ok(Self { file: file.into() })
    }

    /// The namespace of the calling thread.
    pub fn current() -> Result<Self, NetnsError> {
        open_own().map_err(|source| NetnsError::Open { path: OWN_NAMESPACE.into(), source })
    }

    /// Runs `work` inside this namespace, on a thread made for it, and returns what it returns.
    ///
    /// The thread ends with `work`, so no other work can ever find itself in the wrong namespace. Sockets opened by
    /// `work` belong to this namespace for good; `/proc/sys/net` shows this namespace. Costs a thread, some 30 µs.
    /// A panic in `work` goes on in the caller.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        on_own_thread(|| {
            setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET)
                .map_err(|errno| NetnsError::Enter { source: errno.into() })?;
            Ok(work())
        })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Takes the namespace away from `path`. Processes and values that hold it keep it alive.
///
/// Succeeds when there is nothing, or only the empty file a crash left.
pub fn remove(path: &Path) -> Result<(), NetnsError> {
    let failed = |source| NetnsError::Remove { path: path.to_owned(), source };
    match umount2(path, MntFlags::MNT_DETACH) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(errno) => return Err(failed(errno.into())),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}

fn open_own() -> io::Result<Netns> {
    Ok(Netns { file: File::open(OWN_NAMESPACE)?.into() })
}

fn in_new_namespace<T: Send>(work: impl FnOnce() -> Result<T, NetnsError> + Send) -> Result<T, NetnsError> {
    on_own_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| NetnsError::Create { source: errno.into() })?;
        work()
    })
}

fn on_own_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let joined = thread::scope(|scope| scope.spawn(work).join());
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
