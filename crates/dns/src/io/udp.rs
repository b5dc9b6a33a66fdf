//! Reading one UDP socket, on a thread of its own.

use std::io::{self, PipeReader};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::batch::Batch;
use super::listener::SharedRoutes;
use super::resolver::{Arrivals, Pending, Step, begin};

/// How many batches are read after the end was called: what came before is answered, but there is an end.
const LAST_BATCHES: usize = 256;

/// Reads queries from one socket and answers those it can on the spot.
pub(super) struct Reader {
    pub(super) socket: Arc<UdpSocket>,
    pub(super) routes: SharedRoutes,
    /// Where queries are answered that must wait.
    pub(super) tasks: TaskTracker,
    pub(super) runtime: Handle,
    /// Closed when it is to end.
    pub(super) end: PipeReader,
    /// Set when `end` is closed, so that a reader which never waits sees it too.
    pub(super) is_ending: Arc<AtomicBool>,
    pub(super) arrivals: Arrivals,
}

impl Reader {
    /// Reads until told to end, and what has come until then.
    pub(super) fn run(mut self) {
        let mut batch = Batch::new();
        let mut left = LAST_BATCHES;
        while left > 0 {
            if self.is_ending.load(Ordering::Relaxed) {
                left -= 1;
            }
            match batch.receive(&self.socket) {
                Ok(count) => self.answer(&mut batch, count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.is_ending.load(Ordering::Relaxed) {
                        return;
                    }
                    self.wait();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => warn!(%error, "cannot read from a UDP socket"),
            }
        }
    }

    /// Waits for datagrams or the end.
    fn wait(&self) {
        let mut watched =
            [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN), PollFd::new(self.end.as_fd(), PollFlags::POLLIN)];
        match poll(&mut watched, PollTimeout::NONE) {
            Ok(_) if watched[1].any() == Some(true) => self.is_ending.store(true, Ordering::Relaxed),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => warn!(%error, "cannot wait for datagrams"),
        }
    }

    fn answer(&mut self, batch: &mut Batch, count: usize) {
        let now = Instant::now();
        let routes = self.routes.load();
        batch.answer(count, |packet, client, out| {
            let arrival = self.arrivals.note(client, now);
            match begin(&routes, packet, arrival, out) {
                Step::Ignore => false,
                Step::Send => true,
                Step::SendAndRenew(renewal) => {
                    self.tasks.spawn_on(renewal.run(), &self.runtime);
                    true
                }
                Step::Wait(pending) => {
                    self.answer_later(pending, client);
                    false
                }
            }
        });
        if let Err(error) = batch.send(&self.socket) {
            debug!(%error, "cannot send an answer");
        }
    }

    fn answer_later(&self, pending: Pending, client: SocketAddr) {
        let socket = Arc::clone(&self.socket);
        let answering = async move {
            let (response, renewal) = pending.finish().await;
            if !response.is_empty()
                && let Err(error) = socket.send_to(&response, client)
            {
                // A client that got no answer asks again; there is nothing else to do.
                debug!(%error, "cannot send an answer");
            }
            if let Some(renewal) = renewal {
                renewal.run().await;
            }
        };
        self.tasks.spawn_on(answering, &self.runtime);
    }
}
