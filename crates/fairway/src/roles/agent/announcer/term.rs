//! Answering for addresses, from the first one there is to the last.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use compile::load_balancer::{Announcement, Answerer, announcements};
use datapath::neighbourhood::message::Neighbour;
use jiff::Timestamp;
use kubeapi::RejectionSender;
use model::{Name, NodeNetworks};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::ages::Ages;
use super::doubles::Doubles;
use super::links::Links;
use super::off_network::OffNetwork;
use super::places::{Place, networks_of, read_places};
use super::probes::{Probes, Step};
use super::teller::TellerSender;
use super::{Announcer, AnnouncerMetrics, Following, Held};

/// New announcements are sent again so often after the first, a second apart: a frame may be lost.
const REPEATS: u32 = 3;
const REPEAT_EVERY: Duration = Duration::from_secs(1);
/// How often everything is announced again, for those who missed it all, it is asked who else has it, and the node's
/// networks are looked at.
const REFRESH: Duration = Duration::from_secs(30);

/// What one term of answering needs.
pub(super) struct Term {
    node: Name,
    following: Following,
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
    ages: Ages,
    probes: Probes,
    doubles: Doubles,
    off_network: OffNetwork,
    /// Addresses that are still to be announced so often.
    fresh: BTreeMap<IpAddr, u32>,
}

impl Term {
    /// A term that ends with `end` at the latest, and the networks this node is on meanwhile.
    pub(super) fn begin(
        announcer: &Announcer,
        (ages, teller): (Ages, TellerSender),
        end: &CancellationToken,
    ) -> (Self, watch::Receiver<NodeNetworks>) {
        let (held, receiver) = watch::channel(Held::new());
        let (to_networks, networks) = watch::channel(NodeNetworks::Told(Vec::new()));
        let mut term = Self {
            node: announcer.node.clone(),
            following: announcer.following.clone(),
            teller,
            rejections: announcer.rejections.clone(),
            metrics: Arc::clone(&announcer.metrics),
            end: end.clone(),
            places: Vec::new(),
            to_networks,
            addresses: Vec::new(),
            held,
            links: Links::new(receiver, Arc::clone(&announcer.metrics), end.clone()),
            ages,
            probes: Probes::default(),
            doubles: Doubles::default(),
            off_network: OffNetwork::default(),
            fresh: BTreeMap::new(),
        };
        // Others are not told of a node before it is known what networks it is on.
        term.look_at_places();
        (term, networks)
    }

    /// Answers for what this node is chosen for, as long as it takes part; returns what it has learnt of addresses' ages.
    pub(super) async fn run(mut self, mut present: watch::Receiver<BTreeMap<Name, NodeNetworks>>) -> Ages {
        let end = self.end.clone();
        let (mut repeats, mut refresh) = (interval(REPEAT_EVERY), interval(REFRESH));
        repeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.probes.next();
            tokio::select! {
                () = end.cancelled() => break,
                changed = self.following.snapshots.changed() => if changed.is_err() { break },
                changed = self.following.in_force.changed() => if changed.is_err() { break },
                changed = present.changed() => if changed.is_err() { break },
                claim = self.links.next_claim() => {
                    self.take_claim(&claim);
                    continue;
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.probe();
                    continue;
                }
                _ = repeats.tick() => {
                    if !self.following.health.serves(Timestamp::now()) {
                        warn!("the kernel is not in step; leaving load balancer addresses to other nodes");
                        break;
                    }
                    self.repeat();
                    continue;
                }
                _ = refresh.tick() => {
                    self.look_at_places();
                    self.refresh();
                }
            }
            let there = present.borrow_and_update().clone();
            if !self.following.takes_part(&self.node, &self.to_networks.borrow()) {
                break;
            }
            self.follow(&there);
        }
        self.held.send_replace(Held::new());
        self.metrics.addresses.set(0);
        self.metrics.doubles.set(0);
        self.end.cancel();
        self.links.end().await;
        self.ages
    }

    /// Decides which of the nodes that are there answers for what, and makes it so here.
    fn follow(&mut self, there: &BTreeMap<Name, NodeNetworks>) {
        let Some(cluster) = self.following.snapshots.borrow_and_update().clone() else { return };
        let Some(in_force) = self.following.in_force.borrow_and_update().clone() else { return };
        let addresses = cluster.nodes.get(&self.node).map(|node| node.addresses.clone()).unwrap_or_default();
        if self.addresses != addresses {
            self.addresses = addresses;
            self.look_at_places();
        }
        let all = announcements(&cluster, there);
        self.links.follow(&self.places, all.keys());
        self.off_network.follow(&self.node, &all, Instant::now());
        let (chosen, now) = (own(&self.node, all, &announcements(&in_force, there)), Instant::now());
        self.ages.take(&cluster, now);
        let at_once = self.probes.follow(chosen, &self.held.borrow(), &self.ages, now);
        self.answer_for(at_once);
        self.probe();
    }

    /// Answers for these addresses and no others from now on, and tells everybody of those that are new.
    fn answer_for(&mut self, addresses: Held) {
        let new = self.take_over(addresses);
        self.fresh.retain(|address, _| self.held.borrow().contains_key(address));
        self.links.join_groups();
        self.links.announce(new.keys().copied());
        self.fresh.extend(new.keys().map(|address| (*address, REPEATS)));
        self.tell(&new);
    }

    /// Asks who has the addresses that are not answered for yet, and answers for those that nobody has.
    fn probe(&mut self) {
        let Step { ask, free } = self.probes.step(Instant::now());
        // Before they are sent: an answer must not be missed.
        self.links.hear_of(self.probes.addresses());
        self.links.probe(ask);
        if !free.is_empty() {
            free.keys().for_each(|address| self.ages.give_back(*address));
            let held = self.held.borrow().clone();
            self.answer_for(held.into_iter().chain(free).collect());
        }
    }

    /// Says what is said over and over. Who took an address over at once, as at a failover, learns by the probes whether
    /// somebody has it who says nothing unasked.
    fn refresh(&self) {
        let held: Vec<IpAddr> = self.held.borrow().keys().copied().collect();
        self.links.announce(held.iter().copied());
        self.links.probe(held);
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
        self.rejections.tell_or_drop(self.off_network.take(Instant::now()));
        self.doubles.forget(&self.held.borrow(), Instant::now());
        self.metrics.doubles.set(self.doubles.count() + self.probes.count_taken());
    }

    /// Takes in that another machine claims an address that this node answers for or is to.
    fn take_claim(&mut self, claim: &Neighbour) {
        match self.probes.take(claim, Instant::now()) {
            Some(told) => {
                if !told.is_empty() {
                    self.ages.take_away(claim.address);
                    info!(address = %claim.address, mac = %claim.mac, "another machine has this address; not answering");
                }
                self.rejections.tell_or_drop(told);
            }
            None => self.defend(claim),
        }
    }

    /// Takes in that another machine claims an address of this node. It is announced with the next repeats: by then a node
    /// that has lost it knows that it has.
    fn defend(&mut self, claim: &Neighbour) {
        let now = Instant::now();
        let told = self.doubles.take(claim, &self.held.borrow(), now);
        self.rejections.tell_or_drop(told);
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

/// The addresses a node answers for: those it is chosen for, by what the cluster is and by what its kernel was set up for.
fn own(node: &Name, wanted: BTreeMap<IpAddr, Announcement>, served: &BTreeMap<IpAddr, Announcement>) -> Held {
    let chosen = Answerer::Node(node.clone());
    let is_served = |address: &IpAddr| served.get(address).is_some_and(|served| served.answerer == chosen);
    let own = wanted.into_iter().filter(|(address, wanted)| wanted.answerer == chosen && is_served(address));
    own.map(|(address, wanted)| (address, wanted.services)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_not_answered_for_before_the_kernel_serves_it_nor_when_another_node_is_chosen() {
        let all = |answerers: &[(&str, Answerer)]| -> BTreeMap<IpAddr, Announcement> {
            let announcement = |answerer: &Answerer| Announcement { services: [].into(), answerer: answerer.clone() };
            answerers.iter().map(|(address, answerer)| (address.parse().unwrap(), announcement(answerer))).collect()
        };
        let (here, there) = (Answerer::Node("here".into()), Answerer::Node("there".into()));
        let both = [("10.0.0.1", here.clone()), ("10.0.0.2", here.clone())];
        let held = |wanted: &[_], served: &[_]| {
            let held = own(&"here".into(), all(wanted), &all(served));
            held.keys().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(held(&both, &both), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(held(&both, &both[..1]), ["10.0.0.1"], "the other one is new");
        assert_eq!(held(&both, &[both[0].clone(), ("10.0.0.2", Answerer::Nobody)]), ["10.0.0.1"]);
        assert_eq!(held(&[both[0].clone(), ("10.0.0.2", there)], &both), ["10.0.0.1"]);
    }
}
