//! The directory in which the plugin remembers, from call to call, what it gave to whom.
//!
//! Every fact is a file, replaced whole or not at all: a crash at any point leaves no half ones, and a look with `ls`
//! says what there is. The boot's identifier is kept with them: containers do not outlive a boot, so what was written
//! in an earlier one is void, whether or not the runtime ever says `DEL`. That is also why nothing but the identifier
//! is brought to the disk before a call ends: what a power cut may lose would be void anyway.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Tells boots apart (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const LOCK: &str = "lock";
const BOOT: &str = "boot";

/// An operation on the state directory that failed.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The directory could not be prepared or locked.
    #[error("cannot lock the state in {path}")]
    Lock {
        /// The state directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A part of it could not be read.
    #[error("cannot read the state in {path}")]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A fact could not be written down; it does not hold.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A fact could not be removed; it stands.
    #[error("cannot remove {path}")]
    Remove {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The state directory of one node, in one boot.
#[derive(Clone, Debug)]
pub(crate) struct StateDirectory {
    path: PathBuf,
    boot: String,
    /// Set once what is here is known to be of this boot, which ends no sooner than this process.
    is_current: OnceLock<()>,
}

/// The right to change the state, held by one call at a time; the kernel takes it back when the process ends, however
/// it ends.
#[derive(Debug)]
pub(crate) struct StateLock<'a> {
    directory: &'a StateDirectory,
    _file: File,
}

impl StateDirectory {
    /// The state in `path`, in the boot the machine is in. Touches nothing yet.
    pub(crate) fn open(path: &Path) -> Self {
        // Without it every boot looks the same, and stale facts wait for DEL or GC.
        let boot = fs::read_to_string(BOOT_ID).map(|text| text.trim_end().to_owned()).unwrap_or_default();
        Self::in_boot(path, boot)
    }

    /// The state in `path`, in the boot with this identifier.
    pub(crate) fn in_boot(path: &Path, boot: String) -> Self {
        Self { path: path.to_owned(), boot, is_current: OnceLock::new() }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether anything was ever written here.
    pub(crate) fn exists(&self) -> bool {
        self.path.exists()
    }

    /// A file for each address in use.
    pub(crate) fn addresses(&self) -> PathBuf {
        self.path.join("addresses")
    }

    /// A file for each address released of late.
    pub(crate) fn released(&self) -> PathBuf {
        self.path.join("released")
    }

    /// A file for each attachment.
    pub(crate) fn attachments(&self) -> PathBuf {
        self.path.join("attachments")
    }

    /// Waits for its turn, prepares the directory and forgets earlier boots.
    pub(crate) fn lock(&self) -> Result<StateLock<'_>, StateError> {
        let failed = |source| StateError::Lock { path: self.path.clone(), source };
        for part in [self.addresses(), self.released(), self.attachments()] {
            fs::create_dir_all(part).map_err(failed)?;
        }
        let file = File::create(self.path.join(LOCK)).map_err(failed)?;
        file.lock().map_err(failed)?;
        let lock = StateLock { directory: self, _file: file };
        lock.forget_earlier_boots().map_err(failed)?;
        self.is_current.get_or_init(|| ());
        Ok(lock)
    }

    /// What stands in a file; `None` when there is none, or when it is of an earlier boot.
    pub(crate) fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, StateError> {
        if self.is_of_earlier_boot()? { Ok(None) } else { content_of(path) }
    }

    /// The names of the files in a directory; none when there is no directory, or when they are of an earlier boot.
    pub(crate) fn names(&self, directory: &Path) -> Result<Vec<String>, StateError> {
        if self.is_of_earlier_boot()? {
            return Ok(Vec::new());
        }
        let failed = |source| StateError::Read { path: directory.to_owned(), source };
        let entries = match fs::read_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let names = entries.map(|entry| entry.map(|entry| entry.file_name().into_string().ok()));
        names.filter_map(Result::transpose).collect::<io::Result<_>>().map_err(failed)
    }

    /// Whether what is here is void, and whoever takes the lock next will find that out. Without an identifier nothing says
    /// so, as where there is nothing.
    fn is_of_earlier_boot(&self) -> Result<bool, StateError> {
        if self.is_current.get().is_some() {
            return Ok(false);
        }
        let written = content_of(&self.path.join(BOOT))?;
        if written.as_deref() == Some(self.boot.as_bytes()) {
            self.is_current.get_or_init(|| ());
        }
        Ok(written.is_some_and(|boot| boot != self.boot.as_bytes()))
    }
}

fn content_of(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StateError::Read { path: path.to_owned(), source }),
    }
}

impl StateLock<'_> {
    /// Makes `path` hold `content`: whole or not at all, for whoever reads it.
    pub(crate) fn replace(&self, path: &Path, content: &[u8]) -> Result<(), StateError> {
        self.put(path, content).map(drop).map_err(|source| StateError::Write { path: path.to_owned(), source })
    }

    /// Removes a file; fine when there is none.
    pub(crate) fn remove(&self, path: &Path) -> Result<(), StateError> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StateError::Remove { path: path.to_owned(), source: error })
            }
            _ => Ok(()),
        }
    }

    fn put(&self, path: &Path, content: &[u8]) -> io::Result<File> {
        let new = self.directory.path.join("new");
        let written = File::create(&new).and_then(|mut file| file.write_all(content).map(|()| file));
        let renamed = written.and_then(|file| fs::rename(&new, path).map(|()| file));
        if renamed.is_err() {
            let _ = fs::remove_file(&new);
        }
        renamed
    }

    fn forget_earlier_boots(&self) -> io::Result<()> {
        let path = self.directory.path.join(BOOT);
        match fs::read_to_string(&path) {
            Ok(boot) if boot == self.directory.boot => return Ok(()),
            Ok(_) => {
                for stale in [self.directory.addresses(), self.directory.attachments()] {
                    fs::remove_dir_all(&stale)?;
                    fs::create_dir_all(&stale)?;
                }
            }
            // Somebody copied the directory without it, or this is the first call: nothing says they are stale.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.put(&path, self.directory.boot.as_bytes())?.sync_all()?;
        File::open(&self.directory.path)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_boot_wrote_is_void() {
        let root = tempfile::tempdir().unwrap();
        let first = StateDirectory::in_boot(root.path(), "first".into());
        let file = first.attachments().join("a");
        first.lock().unwrap().replace(&file, b"x").unwrap();
        drop(first.lock().unwrap());
        assert_eq!(first.read(&file).unwrap().as_deref(), Some(&b"x"[..]));
        let second = StateDirectory::in_boot(root.path(), "second".into());
        assert_eq!(second.read(&file).unwrap(), None, "before anybody took the lock");
        assert_eq!(second.names(&second.attachments()).unwrap(), Vec::<String>::new());
        drop(second.lock().unwrap());
        assert_eq!(second.names(&second.attachments()).unwrap(), Vec::<String>::new());
        assert!(!file.exists());
    }

    #[test]
    fn what_is_not_there_is_nothing() {
        let root = tempfile::tempdir().unwrap();
        let state = StateDirectory::in_boot(&root.path().join("none"), "boot".into());
        assert!(!state.exists());
        assert_eq!(state.names(&state.addresses()).unwrap(), Vec::<String>::new());
        let lock = state.lock().unwrap();
        lock.remove(&state.addresses().join("a")).unwrap();
    }
}
