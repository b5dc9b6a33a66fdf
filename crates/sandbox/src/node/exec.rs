//! One more command in a running container.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use crate::shim::{Place, Terminal};

use super::container::this_program;

/// How much of a probe's or hook's output is kept.
const OUTPUT_BYTES: u64 = 10 << 10;

static CALLS: AtomicU64 = AtomicU64::new(0);

/// A command that has been started in a container. Dropping it kills the command.
pub struct Exec {
    /// The process that waits for the command and ends as it ended.
    pub child: Child,
    errors: PathBuf,
}

/// Where a command reads and writes.
pub enum Streams<'a> {
    /// Pipes; standard input only if asked for.
    Pipes {
        /// Whether there is something to read.
        stdin: bool,
    },
    /// A terminal inside the container.
    Terminal(&'a Terminal),
}

impl Exec {
    /// Starts `command` in the container at `place`.
    pub fn start(place: &Place, command: &[String], streams: &Streams<'_>) -> io::Result<Self> {
        let errors = place.directory().join(format!("exec-{}.err", CALLS.fetch_add(1, Ordering::Relaxed)));
        let terminal = match streams {
            Streams::Pipes { .. } => PathBuf::from("-"),
            Streams::Terminal(terminal) => terminal.inner.clone(),
        };
        let (stdin, output) = match streams {
            Streams::Pipes { stdin: true } => (Stdio::piped(), true),
            Streams::Pipes { stdin: false } => (Stdio::null(), true),
            Streams::Terminal(_) => (Stdio::null(), false),
        };
        let stream = || if output { Stdio::piped() } else { Stdio::null() };
        let child = Command::new(this_program())
            .arg0("fairway")
            .arg("container-exec")
            .arg(place.directory())
            .arg(terminal)
            .arg(&errors)
            .args(command)
            .stdin(stdin)
            .stdout(stream())
            .stderr(stream())
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { child, errors })
    }

    /// Waits for the end: the exit code, or why the command could not even be started.
    pub async fn wait(&mut self) -> io::Result<Result<i32, String>> {
        let status = self.child.wait().await?;
        let why = std::fs::read_to_string(&self.errors).unwrap_or_default();
        if !why.is_empty() {
            return Ok(Err(why));
        }
        Ok(Ok(status.code().unwrap_or(137)))
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = std::fs::remove_file(&self.errors);
    }
}

/// What became of a command that ran to its end or to its time limit.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ended with this code, after this output.
    Ended(i32, String),
    /// It could not be started.
    NotStarted(String),
    /// It took too long.
    TimedOut,
}

/// Runs `command` to its end, both output streams collected, for at most `limit`.
pub async fn run(place: &Place, command: &[String], limit: Duration) -> Outcome {
    let mut exec = match Exec::start(place, command, &Streams::Pipes { stdin: false }) {
        Ok(exec) => exec,
        Err(error) => return Outcome::NotStarted(error.to_string()),
    };
    let (out, err) = (exec.child.stdout.take(), exec.child.stderr.take());
    let work = async {
        let (out, err, ended) = tokio::join!(collect(out), collect(err), exec.wait());
        match ended {
            Ok(Ok(code)) => Outcome::Ended(code, out + &err),
            Ok(Err(why)) => Outcome::NotStarted(why),
            Err(error) => Outcome::NotStarted(error.to_string()),
        }
    };
    tokio::time::timeout(limit, work).await.unwrap_or(Outcome::TimedOut)
}

async fn collect(stream: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut bytes = Vec::new();
    // What could be read is better than nothing; the rest is read too, so that the command can go on.
    let _ = (&mut stream).take(OUTPUT_BYTES).read_to_end(&mut bytes).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&bytes).into_owned()
}
