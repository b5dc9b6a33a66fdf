//! A container as the runtime sees it: started by it, or found running after a restart.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::rootfs::PROGRAM;
use crate::shim::protocol::Frame;
use crate::shim::{ContainerSpec, ExitStatus, Place, Running, Started};

use super::shim_client::connect;

/// How long the steps of starting a container may take together.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// The exit code of a container whose shim is gone and left no word, as the kubelet reports it.
const LOST: i32 = 137;

/// A container that runs or has run.
#[derive(Debug)]
pub struct Container {
    place: Place,
    running: Running,
    ended: watch::Receiver<Option<Ended>>,
    _monitor: AbortOnDropHandle<()>,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// What the shim says.
    pub exit: ExitStatus,
    /// The shim said nothing: it was killed, and the container with it.
    pub lost: bool,
}

/// A container did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its directory could not be prepared.
    #[error("cannot prepare {directory}")]
    Prepare {
        /// The directory.
        directory: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Its shim could not be run.
    #[error("cannot run the shim {program}")]
    Shim {
        /// The program.
        program: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Its shim said nothing sensible.
    #[error("the shim in {directory} did not report a start")]
    Silent {
        /// Its directory.
        directory: PathBuf,
    },
    /// Its program could not be started.
    #[error("{}", .0.start_error.as_deref().unwrap_or("unknown reason"))]
    Program(ExitStatus),
}

impl Container {
    /// Starts a container in a new directory. `changed` is told when it has ended.
    pub async fn start(place: Place, spec: &ContainerSpec, changed: Arc<Notify>) -> Result<Self, StartError> {
        let directory = place.directory().to_path_buf();
        let prepared = tokio::fs::create_dir_all(&directory).await.and_then(|()| place.write_spec(spec));
        prepared.map_err(|source| StartError::Prepare { directory: directory.clone(), source })?;
        let program = this_program();
        let failed = |source| StartError::Shim { program: program.clone(), source };
        let log = std::fs::File::create(directory.join("shim.log")).map_err(failed)?;
        let mut shim = Command::new(&program)
            .arg0("fairway")
            .arg("container-shim")
            .arg(&directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(failed)?;
        let mut line = String::new();
        if let Some(stdout) = shim.stdout.take() {
            let mut stdout = BufReader::new(stdout);
            // Late or broken, the line stays empty.
            let _ = tokio::time::timeout(START_PATIENCE, stdout.read_line(&mut line)).await;
        }
        let started = serde_json::from_str(&line);
        if started.is_err() {
            // Whatever it is doing, it is not what we need.
            let _ = shim.start_kill();
        }
        // How the container ended is in its directory; but a process that nobody waits for never goes.
        tokio::spawn(async move { shim.wait().await });
        match started {
            Ok(Started::Running(running)) => Ok(Self::watched(place, running, changed)),
            Ok(Started::Failed(exit)) => Err(StartError::Program(exit)),
            Err(_) => Err(StartError::Silent { directory }),
        }
    }

    /// Takes over a container that an earlier runtime started.
    pub fn adopt(place: Place, changed: Arc<Notify>) -> io::Result<Self> {
        let running = place.running()?;
        Ok(Self::watched(place, running, changed))
    }

    fn watched(place: Place, running: Running, changed: Arc<Notify>) -> Self {
        let (tell, ended) = watch::channel(None);
        let (watched, since) = (place.clone(), running.started_at);
        let monitor = tokio::spawn(async move {
            tell.send_replace(Some(await_end(&watched, since).await));
            changed.notify_one();
        });
        Self { place, running, ended, _monitor: AbortOnDropHandle::new(monitor) }
    }

    /// Its directory.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What is known of its process.
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// How it ended; `None` while it runs.
    pub fn ended(&self) -> Option<Ended> {
        self.ended.borrow().clone()
    }

    /// Waits until it has ended.
    pub async fn wait(&self) -> Ended {
        let mut ended = self.ended.clone();
        // The sender is never dropped before it sent: a lost container is an end, too.
        match ended.wait_for(Option::is_some).await {
            Ok(ended) => ended.clone().unwrap_or_else(|| lost(self.running.started_at)),
            Err(_) => lost(self.running.started_at),
        }
    }

    /// Asks it to end; it is killed when `grace` is over. Returns at once.
    pub async fn stop(&self, grace: Duration) {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        if let Ok((_, mut shim)) = connect(&self.place.socket()).await {
            // A shim that goes away meanwhile has nothing left to stop.
            let _ = shim.send(&Frame::Stop { grace_ms }).await;
        }
    }
}

/// This program, where it is known to be or where it was started from.
pub fn this_program() -> PathBuf {
    let known = Path::new(PROGRAM);
    if known.exists() { known.to_path_buf() } else { std::env::current_exe().unwrap_or_else(|_| known.to_path_buf()) }
}

async fn await_end(place: &Place, started_at: Timestamp) -> Ended {
    if let Ok((mut frames, _writer)) = connect(&place.socket()).await {
        while let Ok(Some(frame)) = frames.next().await {
            if let Frame::Exited(exit) = frame {
                return Ended { exit, lost: false };
            }
        }
    }
    match place.exit() {
        Ok(exit) => Ended { exit, lost: false },
        Err(_) => lost(started_at),
    }
}

fn lost(started_at: Timestamp) -> Ended {
    let exit = ExitStatus { code: LOST, signal: None, started_at, finished_at: Timestamp::now(), start_error: None };
    Ended { exit, lost: true }
}
