//! Into namespaces that another process made.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns};

/// Why a namespace could not be entered.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// It cannot be opened.
    #[error("cannot open namespace {path}")]
    Open {
        /// Where it was looked for.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The kernel refuses.
    #[error("cannot enter namespace {path}")]
    Enter {
        /// Which.
        path: PathBuf,
        /// The cause.
        source: nix::Error,
    },
}

/// Moves this process into the given namespaces, all opened before the first is entered.
///
/// Must be called while the process has one thread; after a mount namespace the root and working directory are those of
/// that namespace.
///
/// # Errors
/// Names the namespace that could not be opened or entered.
pub fn enter_namespaces(paths: &[PathBuf]) -> Result<(), EnterError> {
    let open = |path: &PathBuf| {
        let file = File::open(path).map_err(|source| EnterError::Open { path: path.clone(), source })?;
        Ok((path.clone(), file))
    };
    let opened = paths.iter().map(open).collect::<Result<Vec<(PathBuf, File)>, EnterError>>()?;
    for (path, file) in opened {
        setns(file, CloneFlags::empty()).map_err(|source| EnterError::Enter { path, source })?;
    }
    Ok(())
}

/// Where the supervisor's descriptor `number` is found by the processes it starts.
pub fn supervisor_descriptor(number: i32) -> PathBuf {
    Path::new("/proc/1/fd").join(number.to_string())
}
