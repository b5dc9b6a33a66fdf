//! The host's network, kept at hand by the supervisor after it has moved into one of its own.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use nix::sched::{CloneFlags, unshare};

/// Starts processes in the network the supervisor came from: who has no right to go back there leaves a thread behind.
#[derive(Debug)]
pub(super) struct Outside {
    orders: SyncSender<Order>,
}

type Order = (Command, SyncSender<io::Result<Child>>);

impl Outside {
    /// Moves the calling thread, and all it starts from now on, into a new network; another thread stays.
    ///
    /// # Errors
    /// When there can be no thread or no network.
    pub(super) fn leave() -> io::Result<Self> {
        let (orders, taken) = sync_channel(0);
        thread::Builder::new().name("outside".to_owned()).spawn(move || start_all(&taken))?;
        unshare(CloneFlags::CLONE_NEWNET)?;
        Ok(Self { orders })
    }

    /// Starts a process outside.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn spawn(&self, command: Command) -> io::Result<Child> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let (answer, outcome) = sync_channel(1);
        self.orders.send((command, answer)).map_err(|_| gone())?;
        outcome.recv().map_err(|_| gone())?
    }
}

/// Until nobody gives orders any more.
fn start_all(orders: &Receiver<Order>) {
    while let Ok((mut command, answer)) = orders.recv() {
        // Who gave the order waits for the answer.
        let _ = answer.send(command.spawn());
    }
}
