//! Terminals inside a container's root.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::OFlag;
use rustix::pty::{ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// What a terminal measures until somebody says otherwise.
const USUAL_SIZE: (u16, u16) = (80, 24);

/// The outer end of a terminal whose inner end lies in a container.
#[derive(Debug)]
pub struct Terminal {
    /// The outer end.
    pub file: Arc<File>,
    /// The inner end's path inside the container.
    pub inner: PathBuf,
}

impl Terminal {
    /// Opens a new terminal among those of the container whose process `pid` belongs to.
    pub fn open(pid: i32) -> io::Result<Self> {
        let multiplexer = format!("/proc/{pid}/root/dev/pts/ptmx");
        let flags = (OFlag::O_NOCTTY | OFlag::O_CLOEXEC).bits();
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(multiplexer)?;
        unlockpt(&file)?;
        let name = ptsname(&file, Vec::new())?;
        let inner = PathBuf::from(name.to_string_lossy().into_owned());
        let terminal = Self { file: Arc::new(file), inner };
        terminal.resize(USUAL_SIZE.0, USUAL_SIZE.1)?;
        Ok(terminal)
    }

    /// Sets the size.
    pub fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        resize(&self.file, columns, rows)
    }
}

/// Sets the size of the terminal whose outer end is `file`.
pub fn resize(file: &File, columns: u16, rows: u16) -> io::Result<()> {
    tcsetwinsize(file, Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 })?;
    Ok(())
}

/// Makes the inner end `path` this process' controlling terminal and its three standard streams.
///
/// The process must not have a controlling terminal and must not lead a process group of others.
pub fn become_controlled_by(path: &Path) -> io::Result<()> {
    nix::unistd::setsid()?;
    // The first terminal a session leader opens becomes its controlling one.
    let inner = OpenOptions::new().read(true).write(true).open(path)?;
    nix::unistd::dup2_stdin(&inner)?;
    nix::unistd::dup2_stdout(&inner)?;
    nix::unistd::dup2_stderr(&inner)?;
    Ok(())
}
