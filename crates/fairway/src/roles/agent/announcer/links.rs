//! The links on which addresses are answered for: those that have an address the Node object tells.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use datapath::neighbourhood::NeighbourSocket;
use datapath::neighbourhood::message::{Heard, Neighbour, announcement, answer, parse};
use datapath::route::{LinkIndex, MacAddress, Rtnetlink};
use model::{Cluster, IpFamily, Name};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{AnnouncerMetrics, Held};

/// How many claims of others may wait; more are dropped, as they come again.
const PENDING: usize = 64;

/// How often a thread that listens looks whether it is to end.
const LOOK_UP: Duration = Duration::from_millis(250);

/// One family on one link.
type Place = (LinkIndex, MacAddress, IpFamily);

/// The links, each with a thread that answers.
pub(super) struct Links {
    held: watch::Receiver<Held>,
    metrics: Arc<AnnouncerMetrics>,
    cancel: CancellationToken,
    ears: BTreeMap<Place, Ear>,
    /// The node's addresses by which the links were found; none before they were looked for.
    found_by: Option<Vec<IpAddr>>,
    to_claims: mpsc::Sender<Neighbour>,
    claims: mpsc::Receiver<Neighbour>,
}

struct Ear {
    socket: Arc<NeighbourSocket>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Links {
    /// No links yet; all tasks end with `cancel`.
    pub(super) fn new(held: watch::Receiver<Held>, metrics: Arc<AnnouncerMetrics>, cancel: CancellationToken) -> Self {
        let (to_claims, claims) = mpsc::channel(PENDING);
        Self { held, metrics, cancel, ears: BTreeMap::new(), found_by: None, to_claims, claims }
    }

    /// Another machine's next claim of an address that is held here.
    pub(super) async fn next_claim(&mut self) -> Neighbour {
        match self.claims.recv().await {
            Some(claim) => claim,
            // Not while this is here: it has a sender itself.
            None => std::future::pending().await,
        }
    }

    /// Lets the next [`follow`](Self::follow) look at the links even if the node's addresses are the same.
    pub(super) fn look_again(&mut self) {
        self.found_by = None;
    }

    /// Listens on the links that the node's addresses are on.
    pub(super) fn follow(&mut self, cluster: &Cluster, node: &Name) -> Result<()> {
        let addresses = cluster.nodes.get(node).map(|node| node.addresses.clone()).unwrap_or_default();
        if self.found_by.as_ref() == Some(&addresses) {
            return Ok(());
        }
        let wanted = places(&addresses)?;
        self.ears.retain(|_, ear| !ear.task.is_finished());
        for (_, ear) in self.ears.extract_if(.., |place, _| !wanted.contains(place)) {
            ear.cancel.cancel();
        }
        for place in wanted {
            if !self.ears.contains_key(&place) {
                let ear = self.listen(place)?;
                self.ears.insert(place, ear);
            }
        }
        self.found_by = Some(addresses);
        Ok(())
    }

    fn listen(&self, place: Place) -> Result<Ear> {
        let (link, mac, family) = place;
        let socket = Arc::new(NeighbourSocket::open(link, mac, family)?);
        let cancel = self.cancel.child_token();
        let listening = Listening {
            socket: Arc::clone(&socket),
            held: self.held.clone(),
            metrics: Arc::clone(&self.metrics),
            claims: self.to_claims.clone(),
        };
        let until = cancel.clone();
        let task = tokio::task::spawn_blocking(move || listening.run(&until));
        Ok(Ear { socket, cancel, task })
    }

    /// Tells everybody that these addresses are here.
    pub(super) fn announce(&self, addresses: impl IntoIterator<Item = IpAddr>) {
        for address in addresses {
            let of_family = self.ears.iter().filter(|((_, _, family), _)| *family == IpFamily::of(address));
            for ((_, mac, _), ear) in of_family {
                for frame in announcement(*mac, address) {
                    send(&ear.socket, &frame);
                }
                self.metrics.announced.inc();
            }
        }
    }

    /// Ends all tasks.
    pub(super) async fn end(self) {
        for ear in self.ears.into_values() {
            ear.cancel.cancel();
            if let Err(error) = ear.task.await {
                warn!(%error, "a task that answers for addresses ended abnormally");
            }
        }
    }
}

fn places(node: &[IpAddr]) -> Result<BTreeSet<Place>> {
    let mut netlink = Rtnetlink::open().context("cannot read the links")?;
    let of_node = netlink.addresses()?.into_iter().filter(|(_, address)| node.contains(&address.addr()));
    let of_node: BTreeSet<LinkIndex> = of_node.map(|(link, _)| link).collect();
    let links = netlink.links()?.into_iter().filter(|link| of_node.contains(&link.index));
    let with_mac = links.filter_map(|link| Some((link.index, link.mac?)));
    Ok(with_mac.flat_map(|(link, mac)| [(link, mac, IpFamily::V4), (link, mac, IpFamily::V6)]).collect())
}

/// What is heard on one link.
struct Listening {
    socket: Arc<NeighbourSocket>,
    held: watch::Receiver<Held>,
    metrics: Arc<AnnouncerMetrics>,
    claims: mpsc::Sender<Neighbour>,
}

impl Listening {
    fn run(self, until: &CancellationToken) {
        while !until.is_cancelled() {
            match self.socket.receive(LOOK_UP) {
                Ok(frame) => frame.iter().flat_map(|frame| parse(frame)).for_each(|heard| self.take(heard)),
                // The link went down or away; if it comes again it is another one.
                Err(error) => return warn!(%error, "cannot hear neighbours on a link any more"),
            }
        }
    }

    fn take(&self, heard: Heard) {
        let mac = self.socket.mac();
        match heard {
            Heard::Question { target, asker } if asker.mac != mac && self.held.borrow().contains_key(&target) => {
                send(&self.socket, &answer(mac, target, &asker));
                self.metrics.answered.inc();
            }
            Heard::Claim(claim) if claim.mac != mac && self.held.borrow().contains_key(&claim.address) => {
                // If there are too many, the next of them will do.
                let _ = self.claims.try_send(claim);
            }
            Heard::Question { .. } | Heard::Claim(_) => {}
        }
    }
}

fn send(socket: &NeighbourSocket, frame: &[u8]) {
    match socket.send(frame) {
        Ok(()) => {}
        // Whoever asked asks again, and announcements are repeated.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => debug!("a link's queue is full"),
        Err(error) => debug!(%error, "cannot tell neighbours of an address"),
    }
}
