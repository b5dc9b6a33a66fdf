//! Private root file systems for nodes and containers: the host's programs, nothing else of the host's.
//!
//! A root is a tmpfs on which `/usr` and its siblings are overlays of the host's (a read-only bind where the kernel refuses
//! an overlay), `/etc` is an overlay or a copy, and everything else is empty and writable. It needs no root: all of it
//! works inside a user namespace with a single mapped user. Building one takes about a millisecond.
//!
//! One limit of a single mapped user remains: directories of the host that belong to an unmapped user cannot be written
//! through an overlay, except where a [`Bind`] is to be mounted.

mod devices;
mod layers;
mod mounts;

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::unistd::{chdir, pivot_root};

/// Where this program is found inside every root, whatever the host has in `/usr/local/bin`.
pub const PROGRAM: &str = "/opt/fairway/bin/fairway";

/// The same program at the place a node's or an image's user would look for it; missing where overlays do not work.
const PROGRAM_FOR_USERS: &str = "/usr/local/bin/fairway";

/// Where network plugins have their configurations: those of the host are not a node's.
const PLUGIN_CONFIGURATIONS: &str = "etc/cni";

/// The host's `/etc` as seen from a node: the lower layer of its containers, without what the node itself adds.
const PRISTINE_ETC: &str = "/opt/fairway/etc";

/// Directories at the top of the host whose content every root shows, besides `/etc`.
const SHOWN: [&str; 9] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "nix", "gnu"];

/// Directories every root has of its own, with their permissions.
const OWN: [(&str, u32); 20] = [
    ("home", 0o755),
    ("media", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("opt/fairway", 0o755),
    ("opt/fairway/bin", 0o755),
    ("opt/fairway/tools", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("run/lock", 0o1777),
    ("srv", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("var", 0o755),
    ("var/cache", 0o755),
    ("var/lib", 0o755),
    ("var/log", 0o755),
    ("var/spool", 0o755),
    ("var/tmp", 0o1777),
];

/// Whom a root is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Purpose {
    /// A machine of the cluster: writable kernel settings, a place for CNI plugins and their configuration.
    Node,
    /// A container that may do what it likes to the kernel.
    PrivilegedContainer,
    /// A container as container runtimes make them: kernel settings are read-only.
    Container,
}

/// A file or directory of the surrounding file system that shows up in a root.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Bind {
    /// What to show; a path outside the root. It must exist.
    pub source: PathBuf,
    /// Where to show it: an absolute path inside the root, made if missing.
    pub target: PathBuf,
    /// Whether writing is refused.
    pub read_only: bool,
}

impl Bind {
    /// A writable bind of `source` at `target`.
    pub fn writable(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self { source: source.into(), target: target.into(), read_only: false }
    }
}

/// What a root shall look like.
#[derive(Debug, Clone, Copy)]
pub struct Root<'a> {
    /// The existing directory on which the root is mounted.
    pub at: &'a Path,
    /// This program; it becomes [`PROGRAM`].
    pub program: &'a Path,
    /// Names under which the program is linked beside [`PROGRAM`].
    pub program_names: &'a [&'a str],
    /// Names under which the program is linked where the search for programs comes last.
    pub tool_names: &'a [&'a str],
    /// Whom it is for.
    pub purpose: Purpose,
    /// What else it shows.
    pub binds: &'a [Bind],
}

/// A root could not be built or entered.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The kernel refused a mount.
    #[error("cannot mount {what} on {on}")]
    Mount {
        /// What was to be mounted.
        what: String,
        /// Where.
        on: PathBuf,
        /// Why not.
        #[source]
        source: Errno,
    },
    /// A file, directory or link of the root could not be made.
    #[error("cannot make {path}")]
    Make {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Something the root shall show is not there.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The finished root could not become the root of this process.
    #[error("cannot make {at} the root directory")]
    Enter {
        /// The root.
        at: PathBuf,
        /// Why not.
        #[source]
        source: Errno,
    },
}

impl Root<'_> {
    /// Builds the root on `at`, in the mount namespace of the caller, which must be a private one.
    ///
    /// `/proc` shows the caller's pid namespace and `/sys` its network namespace. After an error the mounts made so far
    /// remain; they vanish with the mount namespace.
    pub fn build(&self) -> Result<(), RootError> {
        mounts::tmpfs(self.at, "mode=0755")?;
        for (name, mode) in OWN {
            self.make_directory(Path::new(name), mode)?;
        }
        self.link("/run", "var/run")?;
        self.link("/run/lock", "var/lock")?;
        let mut binds = self.binds.to_vec();
        binds.extend([PROGRAM, PROGRAM_FOR_USERS].map(|target| Bind {
            source: self.program.to_path_buf(),
            target: target.into(),
            read_only: true,
        }));
        binds.sort_by_key(|bind| bind.target.components().count());
        self.show_host(&binds)?;
        for name in self.program_names {
            self.link("fairway", Path::new("opt/fairway/bin").join(name))?;
        }
        for name in self.tool_names {
            self.link("../bin/fairway", Path::new("opt/fairway/tools").join(name))?;
        }
        self.show_kernel()?;
        binds.iter().try_for_each(|bind| self.bind(bind))
    }

    fn show_host(&self, binds: &[Bind]) -> Result<(), RootError> {
        let layers = layers::Layers::open(self.at)?;
        for name in SHOWN {
            let host = Path::new("/").join(name);
            match fs::symlink_metadata(&host) {
                Err(_) => {}
                Ok(metadata) if metadata.is_symlink() => {
                    let to = fs::read_link(&host).map_err(|source| RootError::Read { path: host.clone(), source })?;
                    self.link(to, name)?;
                }
                Ok(_) => {
                    self.make_directory(Path::new(name), 0o755)?;
                    layers.show(&host, name, binds)?;
                }
            }
        }
        self.make_directory(Path::new("etc"), 0o755)?;
        let pristine = Path::new(PRISTINE_ETC);
        let host_etc = if pristine.is_dir() { pristine } else { Path::new("/etc") };
        layers.show_or_copy(host_etc, "etc", binds)?;
        if self.purpose == Purpose::Node {
            self.make_directory(Path::new("opt/fairway/etc"), 0o755)?;
            mounts::bind_read_only(host_etc, &self.inside(Path::new(PRISTINE_ETC)))?;
            self.make_directory_of_its_own(Path::new(PLUGIN_CONFIGURATIONS))?;
            self.make_directory(Path::new("etc/cni/net.d"), 0o755)?;
            self.make_directory(Path::new("opt/cni/bin"), 0o755)?;
        }
        layers.close()
    }

    fn show_kernel(&self) -> Result<(), RootError> {
        mounts::proc(&self.at.join("proc"))?;
        mounts::sysfs(&self.at.join("sys"), self.purpose == Purpose::Container)?;
        if self.purpose == Purpose::Container {
            for name in ["sys", "sysrq-trigger", "irq", "bus"] {
                let path = self.at.join("proc").join(name);
                if path.exists() {
                    mounts::bind_read_only(&path, &path)?;
                }
            }
        }
        devices::build(&self.at.join("dev"), self.purpose)
    }

    fn bind(&self, bind: &Bind) -> Result<(), RootError> {
        let metadata =
            fs::metadata(&bind.source).map_err(|source| RootError::Read { path: bind.source.clone(), source })?;
        let target = self.inside(&layers::resolve(&bind.target));
        if let Err(error) = make_mount_point(&target, metadata.is_dir()) {
            // Without overlays there is no room in the host's directories; the program has its other place.
            return if bind.target == Path::new(PROGRAM_FOR_USERS) { Ok(()) } else { Err(error) };
        }
        match bind.read_only {
            true => mounts::bind_read_only(&bind.source, &target),
            false => mounts::bind(&bind.source, &target),
        }
    }

    fn inside(&self, absolute: &Path) -> PathBuf {
        self.at.join(absolute.strip_prefix("/").unwrap_or(absolute))
    }

    fn make_directory(&self, relative: &Path, mode: u32) -> Result<(), RootError> {
        let path = self.at.join(relative);
        fs::create_dir_all(&path)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)))
            .map_err(|source| RootError::Make { path, source })
    }

    /// An empty directory where the host may have one that shows through, or that belongs to a user unmapped here.
    fn make_directory_of_its_own(&self, relative: &Path) -> Result<(), RootError> {
        let path = self.at.join(relative);
        make_mount_point(&path, true)?;
        mounts::tmpfs(&path, "mode=0755")
    }

    fn link(&self, to: impl AsRef<Path>, relative: impl AsRef<Path>) -> Result<(), RootError> {
        let path = self.at.join(relative);
        symlink(to, &path).map_err(|source| RootError::Make { path, source })
    }
}

/// Makes the root built at `at` the root directory of this process and forgets the former one.
pub fn enter(at: &Path) -> Result<(), RootError> {
    // Stacking the old root on the new one and detaching it leaves no directory behind: pivot_root(2), NOTES.
    chdir(at)
        .and_then(|()| pivot_root(".", "."))
        .and_then(|()| umount2(".", MntFlags::MNT_DETACH))
        .and_then(|()| chdir("/"))
        .map_err(|source| RootError::Enter { at: at.to_path_buf(), source })
}

/// Makes `path` a directory or an empty file, with its parents, unless it is there.
fn make_mount_point(path: &Path, directory: bool) -> Result<(), RootError> {
    if path.exists() {
        return Ok(());
    }
    let made = match (directory, path.parent()) {
        (true, _) => fs::create_dir_all(path),
        (false, Some(parent)) => fs::create_dir_all(parent).and_then(|()| fs::write(path, b"")),
        (false, None) => Ok(()),
    };
    made.map_err(|source| RootError::Make { path: path.to_path_buf(), source })
}
