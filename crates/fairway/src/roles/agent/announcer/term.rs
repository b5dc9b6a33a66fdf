//! Answering for addresses, from the first one there is to the last.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use compile::load_balancer::{Announcement, Answerer, announcements};
use datapath::neighbourhood::message::Neighbour;
use kubeapi::RejectionSender;
use model::{Cluster, Name, NodeNetworks};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::doubles::Doubles;
use super::links::Links;
use super::off_network::OffNetwork;
use super::places::{Place, networks_of, read_places};
use super::teller::TellerSender;
use super::{Announcer, AnnouncerMetrics, Held};

/// New announcements are sent again so often after the first, a second apart: a frame may be lost.
const REPEATS: u32 = 3;
const REPEAT_EVERY: Duration = Duration::from_secs(1);
/// How often everything is announced again, for those who missed it all, and the node's networks are looked at.
const REFRESH: Duration = Duration::from_secs(30);

/// What one term of answering needs.
pub(super) struct Term {
    node: Name,
    teller: TellerSender,
    rejections: RejectionSender,
    metrics: Arc<AnnouncerMetrics>,
    end: CancellationToken,
    places: Vec<Place>,
    to_networks: watch::Sender<NodeNetworks>,
    /// The node's addresses when its places were read.
    addresses: Vec<IpAddr>,
    held: watch::Sender<Held>,
    links: Links,
    doubles: Doubles,
    off_network: OffNetwork,
    /// Addresses that are still to be announced so often.
    fresh: BTreeMap<IpAddr, u32>,
}

impl Term {
    /// A term that ends with `end` at the latest, and the networks this node is on meanwhile.
    pub(super) fn begin(
        announcer: &Announcer,
        teller: TellerSender,
        end: &CancellationToken,
    ) -> (Self, watch::Receiver<NodeNetworks>) {
        let (held, receiver) = watch::channel(Held::new());
        let (to_networks, networks) = watch::channel(NodeNetworks::Told(Vec::new()));
        let mut term = Self {
            node: announcer.node.clone(),
            teller,
            rejections: announcer.rejections.clone(),
            metrics: Arc::clone(&announcer.metrics),
            end: end.clone(),
            places: Vec::new(),
            to_networks,
            addresses: Vec::new(),
            held,
            links: Links::new(receiver, Arc::clone(&announcer.metrics), end.clone()),
            doubles: Doubles::default(),
            off_network: OffNetwork::default(),
            fresh: BTreeMap::new(),
        };
        // Others are not told of a node before it is known what networks it is on.
        term.look_at_places();
        (term, networks)
    }

    /// Answers for what this node is chosen for, until there is nothing left to choose for.
    pub(super) async fn run(
        mut self,
        mut snapshots: watch::Receiver<Option<Cluster>>,
        mut present: watch::Receiver<BTreeMap<Name, NodeNetworks>>,
    ) {
        let end = self.end.clone();
        let (mut repeats, mut refresh) = (interval(REPEAT_EVERY), interval(REFRESH));
        repeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = end.cancelled() => break,
                changed = snapshots.changed() => if changed.is_err() { break },
                changed = present.changed() => if changed.is_err() { break },
                claim = self.links.next_claim() => {
                    self.defend(&claim);
                    continue;
                }
                _ = repeats.tick() => {
                    self.repeat();
                    continue;
                }
                _ = refresh.tick() => {
                    self.look_at_places();
                    self.links.announce(self.held.borrow().keys().copied());
                }
            }
            let Some(cluster) = snapshots.borrow_and_update().clone() else { continue };
            let there = present.borrow_and_update().clone();
            let all = announcements(&cluster, &there);
            if all.is_empty() {
                break;
            }
            self.follow(&cluster, all);
        }
        self.held.send_replace(Held::new());
        self.metrics.addresses.set(0);
        self.metrics.doubles.set(0);
        self.end.cancel();
        self.links.end().await;
    }

    /// Makes what was decided so.
    fn follow(&mut self, cluster: &Cluster, all: BTreeMap<IpAddr, Announcement>) {
        let addresses = cluster.nodes.get(&self.node).map(|node| node.addresses.clone()).unwrap_or_default();
        if self.addresses != addresses {
            self.addresses = addresses;
            self.look_at_places();
        }
        if let Err(error) = self.links.follow(&self.places, all.keys()) {
            warn!(error = format!("{error:#}"), "cannot answer for load balancer addresses");
        }
        self.off_network.follow(&self.node, &all, Instant::now());
        let chosen = all.into_iter().filter(|(_, found)| found.answerer == Answerer::Node(self.node.clone()));
        let new = self.take_over(chosen.map(|(address, found)| (address, found.services)).collect());
        self.fresh.retain(|address, _| self.held.borrow().contains_key(address));
        self.links.announce(new.keys().copied());
        self.fresh.extend(new.keys().map(|address| (*address, REPEATS)));
        self.tell(&new);
    }

    /// Reads which networks this node is on; what was known stays when that fails.
    fn look_at_places(&mut self) {
        match read_places() {
            Ok(places) => self.places = places,
            Err(error) => warn!(error = format!("{error:#}"), "cannot tell which networks this node is on"),
        }
        self.to_networks.send_replace(networks_of(&self.places));
    }

    /// Says again what is said every second for a while.
    fn repeat(&mut self) {
        self.links.announce(self.fresh.keys().copied());
        self.fresh.retain(|_, left| {
            *left -= 1;
            *left > 0
        });
        self.rejections.tell(self.off_network.take(Instant::now()));
        self.doubles.forget(&self.held.borrow(), Instant::now());
        self.metrics.doubles.set(self.doubles.count());
    }

    /// Takes in that another machine claims an address of this node. It is announced with the next repeats: by then a node
    /// that has lost it knows that it has.
    fn defend(&mut self, claim: &Neighbour) {
        let now = Instant::now();
        let told = self.doubles.take(claim, &self.held.borrow(), now);
        self.rejections.tell(told);
        if self.doubles.may_defend(claim.address, now) {
            self.fresh.entry(claim.address).or_insert(1);
        }
    }

    /// Makes the chosen addresses those that are answered for, and returns the new ones.
    fn take_over(&self, chosen: Held) -> Held {
        let before = self.held.borrow().clone();
        let new = chosen.iter().filter(|(address, _)| !before.contains_key(*address));
        let new: Held = new.map(|(address, services)| (*address, services.clone())).collect();
        for address in before.keys().filter(|address| !chosen.contains_key(*address)) {
            info!(%address, "not answering for this address any more");
        }
        self.metrics.addresses.set(i64::try_from(chosen.len()).unwrap_or(i64::MAX));
        self.held.send_replace(chosen);
        new
    }

    /// Has it told on the Services that this node answers for them now.
    fn tell(&self, new: &Held) {
        for (address, services) in new {
            info!(%address, "answering for this address");
            services.iter().for_each(|service| self.teller.tell(service, *address));
        }
    }
}
