//! Reading one UDP socket.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::server::{Arrivals, Resolver, Step};

/// The largest query read: clients that speak EDNS may send more than 512 octets.
const MAX_QUERY: usize = 4096;

/// Reads queries from one socket and answers those it can on the spot.
pub(super) struct Reader {
    socket: Arc<UdpSocket>,
    resolver: Arc<Resolver>,
    tasks: TaskTracker,
    arrivals: Arrivals,
    response: Vec<u8>,
}

impl Reader {
    pub(super) fn new(socket: UdpSocket, resolver: Arc<Resolver>, tasks: TaskTracker) -> Self {
        let arrivals = Arrivals::over(resolver.udp_transport);
        Self { socket: Arc::new(socket), resolver, tasks, arrivals, response: Vec::new() }
    }

    pub(super) async fn run(mut self) {
        let mut packet = [0; MAX_QUERY];
        loop {
            match self.socket.recv_from(&mut packet).await {
                Ok((len, client)) => self.answer(&packet[..len], client),
                Err(error) => warn!(%error, "cannot read from a UDP socket"),
            }
        }
    }

    fn answer(&mut self, packet: &[u8], client: SocketAddr) {
        let arrival = self.arrivals.note(client);
        match self.resolver.begin(packet, arrival, &mut self.response) {
            Step::Ignore => {}
            Step::Send => note_failure(self.socket.try_send_to(&self.response, client)),
            Step::Wait => {
                let (socket, resolver, packet) =
                    (Arc::clone(&self.socket), Arc::clone(&self.resolver), packet.to_vec());
                self.tasks.spawn(async move {
                    let response = resolver.finish(&packet, arrival).await;
                    if !response.is_empty() {
                        note_failure(socket.send_to(&response, client).await);
                    }
                });
            }
        }
    }
}

/// A client that got no answer asks again; there is nothing else to do.
fn note_failure(sent: io::Result<usize>) {
    if let Err(error) = sent {
        debug!(%error, "cannot send an answer");
    }
}
