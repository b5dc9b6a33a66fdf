//! The ports of the node that lead to pods, as the CNI plugin writes them down.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use compile::host_ports::HostPort;
use tokio::time::{Interval, interval};
use tracing::warn;

/// How often it is looked whether there are others.
const LOOK: Duration = Duration::from_secs(1);
/// Two changes so close may have the same time.
const CLOCK_TICK: Duration = Duration::from_millis(100);

/// Followed by the time the plugin's folder changed, since most of the time nothing does.
#[derive(Debug)]
pub(super) struct Records {
    state_dir: PathBuf,
    looks: Interval,
    read_at: Option<SystemTime>,
    known: Vec<HostPort>,
}

impl Records {
    /// Those of a state directory; none are known yet.
    pub(super) fn new(state_dir: PathBuf) -> Self {
        Self { state_dir, looks: interval(LOOK), read_at: None, known: Vec::new() }
    }

    /// What was read last.
    pub(super) fn known(&self) -> &[HostPort] {
        &self.known
    }

    /// Waits until there are others. May be cancelled.
    pub(super) async fn changed(&mut self) {
        loop {
            self.looks.tick().await;
            match self.look().await {
                Ok(Some(ports)) if ports != self.known => {
                    self.known = ports;
                    return;
                }
                Ok(_) => {}
                Err(error) => warn!(error = format!("{error:#}"), "cannot read which ports of the node lead to pods"),
            }
        }
    }

    /// The ports, if anything was written since the last time.
    async fn look(&mut self) -> Result<Option<Vec<HostPort>>> {
        let (state_dir, read_at) = (self.state_dir.clone(), self.read_at);
        let work = move || {
            // Before the ports are read: what is written meanwhile is found the next time.
            let written = cni::recorded_at(&state_dir);
            if written == read_at {
                return Ok((written, None));
            }
            let recorded = cni::recorded_host_ports(&state_dir)?;
            anyhow::Ok((written, Some(recorded.into_iter().map(|published| published.port).collect())))
        };
        let (written, ports) = tokio::task::spawn_blocking(work).await??;
        self.read_at = written.filter(|at| at.elapsed().is_ok_and(|age| age > CLOCK_TICK));
        Ok(ports)
    }
}
