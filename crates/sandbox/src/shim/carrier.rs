//! Starting `container-exec`, which carries a command into a running container.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::process::Command;

use super::Place;
use super::exec::NO_TERMINAL;

/// The process that carries one command into a container, and the file in which it says why it could not start it.
///
/// The process is killed, and the command with it, when what was started from `command` is dropped.
#[derive(Debug)]
pub struct Carrier {
    /// Not started yet; its standard streams are the caller's to choose.
    pub command: Command,
    errors: PathBuf,
}

impl Carrier {
    /// Carries `command` into the container at `place`, onto the terminal at `terminal` if there is one. `program` is
    /// this program.
    pub fn new(program: &Path, place: &Place, terminal: Option<&Path>, command: &[String]) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let errors = place.directory().join(format!("exec-{}-{number}", std::process::id()));
        let terminal = terminal.map_or(OsStr::new(NO_TERMINAL), Path::as_os_str);
        let mut carrier = Command::new(program);
        carrier.arg0("fairway").arg("container-exec").arg(place.directory()).arg(terminal).arg(&errors).args(command);
        carrier.kill_on_drop(true);
        Self { command: carrier, errors }
    }

    /// Why the command could not be started, once the process has ended; `None` if it was started.
    pub fn refusal(&self) -> Option<String> {
        std::fs::read_to_string(&self.errors).ok().filter(|why| !why.is_empty())
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        // It exists only if the process came that far.
        let _ = std::fs::remove_file(&self.errors);
    }
}
