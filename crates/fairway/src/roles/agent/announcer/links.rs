//! The links on which addresses are answered for: those on a network of one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use datapath::neighbourhood::message::{Heard, Neighbour, announcement, answer, parse, probe};
use datapath::neighbourhood::{NeighbourSocket, SolicitedGroups};
use datapath::route::MacAddress;
use model::IpFamily;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::places::Place;
use super::{AnnouncerMetrics, Held};

/// How many claims of others may wait; more are dropped, as they come again.
const PENDING: usize = 64;

/// How often a thread that listens looks whether it is to end.
const LOOK_UP: Duration = Duration::from_millis(250);

/// The links, each with a thread that answers.
pub(super) struct Links {
    held: watch::Receiver<Held>,
    /// The addresses that are asked for before they are held.
    probed: watch::Sender<BTreeSet<IpAddr>>,
    metrics: Arc<AnnouncerMetrics>,
    cancel: CancellationToken,
    ears: BTreeMap<Place, Ear>,
    /// The addresses of this node's links themselves.
    own: BTreeSet<MacAddress>,
    to_claims: mpsc::Sender<Neighbour>,
    claims: mpsc::Receiver<Neighbour>,
}

struct Ear {
    socket: Arc<NeighbourSocket>,
    /// None in IPv4.
    groups: Option<SolicitedGroups>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Links {
    /// No links yet; all tasks end with `cancel`.
    pub(super) fn new(held: watch::Receiver<Held>, metrics: Arc<AnnouncerMetrics>, cancel: CancellationToken) -> Self {
        let (to_claims, claims) = mpsc::channel(PENDING);
        let probed = watch::Sender::new(BTreeSet::new());
        Self { held, probed, metrics, cancel, ears: BTreeMap::new(), own: BTreeSet::new(), to_claims, claims }
    }

    /// Another machine's next claim of an address that is held or asked for here.
    pub(super) async fn next_claim(&mut self) -> Neighbour {
        loop {
            match self.claims.recv().await {
                // A node of two links on one segment hears on the one what it says on the other.
                Some(claim) if self.own.contains(&claim.mac) => {}
                Some(claim) => return claim,
                // Not while this is here: it has a sender itself.
                None => std::future::pending().await,
            }
        }
    }

    /// Listens at those of the places that are on a network of one of the addresses; where that fails it is tried again at
    /// the next call.
    pub(super) fn follow<'a>(&mut self, places: &[Place], addresses: impl Iterator<Item = &'a IpAddr>) {
        self.own = places.iter().map(|place| place.mac).collect();
        let addresses: Vec<IpAddr> = addresses.copied().collect();
        let is_wanted = |place: &&Place| addresses.iter().any(|address| place.may_have(*address));
        let wanted: BTreeSet<&Place> = places.iter().filter(is_wanted).collect();
        self.ears.retain(|_, ear| !ear.task.is_finished());
        for (_, ear) in self.ears.extract_if(.., |place, _| !wanted.contains(place)) {
            ear.cancel.cancel();
        }
        for place in wanted {
            if self.ears.contains_key(place) {
                continue;
            }
            match self.listen(place) {
                Ok(ear) => drop(self.ears.insert(place.clone(), ear)),
                Err(error) => {
                    warn!(error = format!("{error:#}"), ?place, "cannot answer for addresses there; trying again");
                }
            }
        }
    }

    fn listen(&self, place: &Place) -> Result<Ear> {
        let socket = Arc::new(NeighbourSocket::open(place.link, place.mac, place.family)?);
        let groups = match place.family {
            IpFamily::V4 => None,
            IpFamily::V6 => Some(SolicitedGroups::open(place.link)?),
        };
        let cancel = self.cancel.child_token();
        let listening = Listening {
            place: place.clone(),
            socket: Arc::clone(&socket),
            held: self.held.clone(),
            probed: self.probed.subscribe(),
            metrics: Arc::clone(&self.metrics),
            claims: self.to_claims.clone(),
        };
        let until = cancel.clone();
        let task = tokio::task::spawn_blocking(move || listening.run(&until));
        Ok(Ear { socket, groups, cancel, task })
    }

    /// Makes switches send here who asks for an address that is held.
    pub(super) fn join_groups(&mut self) {
        let held: Vec<IpAddr> = self.held.borrow().keys().copied().collect();
        for (place, ear) in &mut self.ears {
            let of_place = held.iter().copied().filter(|address| place.may_have(*address));
            let outcome = ear.groups.as_mut().map_or(Ok(()), |groups| groups.follow(of_place));
            if let Err(error) = outcome {
                debug!(%error, "cannot join the groups that neighbours ask in");
            }
        }
    }

    /// Tells everybody that these addresses are here.
    pub(super) fn announce(&self, addresses: impl IntoIterator<Item = IpAddr>) {
        for address in addresses {
            for (place, ear) in self.ears.iter().filter(|(place, _)| place.may_have(address)) {
                for frame in announcement(place.mac, address) {
                    send(&ear.socket, &frame);
                }
                self.metrics.announced.inc();
            }
        }
    }

    /// Makes these the addresses of which claims are heard though they are not held.
    pub(super) fn hear_of(&self, probed: BTreeSet<IpAddr>) {
        self.probed.send_if_modified(|known| {
            let is_new = *known != probed;
            *known = probed;
            is_new
        });
    }

    /// Asks everybody who has these addresses, without saying that they are here.
    pub(super) fn probe(&self, addresses: impl IntoIterator<Item = IpAddr>) {
        for address in addresses {
            for (place, ear) in self.ears.iter().filter(|(place, _)| place.may_have(address)) {
                send(&ear.socket, &probe(place.mac, address));
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

/// What is heard on one link.
struct Listening {
    place: Place,
    socket: Arc<NeighbourSocket>,
    held: watch::Receiver<Held>,
    probed: watch::Receiver<BTreeSet<IpAddr>>,
    metrics: Arc<AnnouncerMetrics>,
    claims: mpsc::Sender<Neighbour>,
}

impl Listening {
    fn run(self, until: &CancellationToken) {
        while !until.is_cancelled() {
            match self.socket.receive(LOOK_UP) {
                Ok(frame) => frame.iter().flat_map(|frame| parse(frame)).for_each(|heard| self.take(heard)),
                // It is told once; if the link comes up again, the socket hears again.
                Err(error) if error.kind() == io::ErrorKind::NetworkDown => debug!("a link is down"),
                Err(error) => return warn!(%error, "cannot hear neighbours on a link any more"),
            }
        }
    }

    fn take(&self, heard: Heard) {
        let mac = self.place.mac;
        match heard {
            Heard::Question { target, asker } if asker.mac != mac && self.is_held_here(target) => {
                send(&self.socket, &answer(mac, target, &asker));
                self.metrics.answered.inc();
            }
            Heard::Claim(claim) if claim.mac != mac && self.matters_here(claim.address) => {
                // If there are too many, the next of them will do.
                let _ = self.claims.try_send(claim);
            }
            Heard::Question { .. } | Heard::Claim(_) => {}
        }
    }

    fn matters_here(&self, address: IpAddr) -> bool {
        self.is_held_here(address) || (self.place.may_have(address) && self.probed.borrow().contains(&address))
    }

    fn is_held_here(&self, address: IpAddr) -> bool {
        self.place.may_have(address) && self.held.borrow().contains_key(&address)
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
