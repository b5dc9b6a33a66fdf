//! One upstream server and how it does.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::exchange::{ask_by_tcp, ask_by_udp};
use super::forwarder::within;
use crate::config::{ForwardConfig, HealthCheck};
use crate::forward::write_probe;
use crate::metrics::Metrics;

/// Whose answer nobody forges: only whether it comes matters.
const PROBE_ID: u16 = 0x6661;

/// One upstream server and how it does.
#[derive(Debug)]
pub(super) struct Upstream {
    address: SocketAddr,
    /// Failures in a row.
    failures: AtomicU32,
    is_probed: AtomicBool,
    max_fails: u32,
    force_tcp: bool,
    check: HealthCheck,
    metrics: Metrics,
    end: CancellationToken,
}

impl Upstream {
    pub(super) fn new(address: SocketAddr, config: &ForwardConfig, metrics: Metrics, end: CancellationToken) -> Self {
        Self {
            address,
            failures: AtomicU32::new(0),
            is_probed: AtomicBool::new(false),
            max_fails: config.max_fails,
            force_tcp: config.force_tcp,
            check: config.health_check.clone(),
            metrics,
            end,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it may be asked.
    pub(super) fn is_healthy(&self) -> bool {
        self.max_fails == 0 || self.failures.load(Ordering::Relaxed) < self.max_fails
    }

    /// Notes that it did not answer; from then on it is probed until it does.
    pub(super) fn note_failure(self: &Arc<Self>) {
        if self.max_fails == 0 || self.is_probed.swap(true, Ordering::Relaxed) {
            return;
        }
        let upstream = Arc::clone(self);
        // Ends with the forwarder, which cancels it.
        tokio::spawn(async move {
            let end = upstream.end.clone();
            end.run_until_cancelled(upstream.probe_until_well()).await;
        });
    }

    async fn probe_until_well(&self) {
        let mut probe = Vec::new();
        write_probe(&self.check.domain, self.check.recursive, PROBE_ID, &mut probe);
        while within(self.check.interval, self.ask(&probe)).await.is_err() {
            self.metrics.probe_failures.inc();
            if self.failures.fetch_add(1, Ordering::Relaxed) + 1 == self.max_fails {
                warn!(server = %self.address, "upstream server does not answer; left alone until it does");
            }
            sleep(self.check.interval).await;
        }
        self.is_probed.store(false, Ordering::Relaxed);
        if self.failures.swap(0, Ordering::Relaxed) >= self.max_fails {
            info!(server = %self.address, "upstream server answers again");
        }
    }
    /// Asks it the way queries come: a server that is cut off from one protocol may well answer over the other.
    async fn ask(&self, packet: &[u8]) -> io::Result<Vec<u8>> {
        if self.force_tcp { ask_by_tcp(self.address, packet).await } else { ask_by_udp(self.address, packet).await }
    }
}
