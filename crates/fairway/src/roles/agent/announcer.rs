//! Load balancer addresses on the network the nodes are on: one node answers for each.
//!
//! Which node is decided by `compile::load_balancer::announcements` from the snapshot and the nodes that are there
//! (`kubeapi::Presence`). The node that is chosen tells everybody, answers whoever asks, and watches for others that do.

mod doubles;
mod links;
mod metrics;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use compile::load_balancer::announcements;
use kubeapi::{Client, Presence, RejectionSender};
use model::{Cluster, Name, NamespacedName};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::COMPONENT;
use doubles::Doubles;
use links::Links;
pub(super) use metrics::AnnouncerMetrics;

/// By this the nodes' Leases are named.
const PURPOSE: &str = "l2";
/// New announcements are sent again so often after the first, a second apart: a frame may be lost.
const REPEATS: u32 = 3;
const REPEAT_EVERY: Duration = Duration::from_secs(1);
/// How often everything is announced again, for those who missed it all.
const REFRESH: Duration = Duration::from_secs(30);

/// The addresses this node answers for, with the Services that have them.
pub(super) type Held = BTreeMap<IpAddr, BTreeSet<NamespacedName>>;

/// What the announcer needs.
pub(super) struct Announcer {
    pub(super) node: Name,
    pub(super) namespace: String,
    /// After how long a node that fell silent is replaced.
    pub(super) lease_duration: Duration,
    pub(super) client: Client,
    pub(super) snapshots: watch::Receiver<Option<Cluster>>,
    pub(super) rejections: RejectionSender,
    pub(super) metrics: Arc<AnnouncerMetrics>,
}

impl Announcer {
    /// Announces until `cancel`. Takes part only while there is something to announce.
    pub(super) async fn run(mut self, cancel: &CancellationToken) {
        while cancel.run_until_cancelled(self.wait_for_addresses()).await.is_some() {
            let term = cancel.child_token();
            let presence =
                Presence::new(self.client.clone(), &self.namespace, PURPOSE, self.node.clone(), self.lease_duration);
            let (to_present, present) = watch::channel(BTreeSet::new());
            tokio::join!(presence.keep(&to_present, &term), self.take_part(present, &term));
            if cancel.is_cancelled() {
                return;
            }
        }
    }

    /// Ends once there is an address to be answered for, by whichever node.
    async fn wait_for_addresses(&mut self) {
        let has_some = |cluster: &Option<Cluster>| {
            cluster.as_ref().is_some_and(|cluster| !announcements(cluster, &BTreeSet::new()).is_empty())
        };
        if self.snapshots.wait_for(has_some).await.is_err() {
            // No snapshots will come any more: the agent is ending.
            std::future::pending::<()>().await;
        }
    }

    /// Answers for what this node is chosen for, until there is nothing left to choose for.
    async fn take_part(&mut self, mut present: watch::Receiver<BTreeSet<Name>>, term: &CancellationToken) {
        let (to_held, held) = watch::channel(Held::new());
        let mut links = Links::new(held, Arc::clone(&self.metrics), term.clone());
        let mut doubles = Doubles::default();
        let (mut repeats, mut refresh) = (interval(REPEAT_EVERY), interval(REFRESH));
        repeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut fresh: BTreeMap<IpAddr, u32> = BTreeMap::new();
        loop {
            tokio::select! {
                () = term.cancelled() => break,
                changed = self.snapshots.changed() => if changed.is_err() { break },
                changed = present.changed() => if changed.is_err() { break },
                claim = links.next_claim() => {
                    let addresses = to_held.borrow().clone();
                    self.rejections.tell(doubles.take(&claim, &addresses, Instant::now()));
                    self.metrics.doubles.set(doubles.count());
                    links.announce([claim.address]);
                    continue;
                }
                _ = repeats.tick() => {
                    links.announce(fresh.keys().copied());
                    fresh.retain(|_, left| { *left -= 1; *left > 0 });
                    continue;
                }
                _ = refresh.tick() => {
                    links.look_again();
                    links.announce(to_held.borrow().keys().copied());
                    continue;
                }
            }
            let Some(cluster) = self.snapshots.borrow_and_update().clone() else { continue };
            let alive = present.borrow_and_update().clone();
            let all = announcements(&cluster, &alive);
            if all.is_empty() {
                break;
            }
            if let Err(error) = links.follow(&cluster, &self.node) {
                warn!(error = format!("{error:#}"), "cannot answer for load balancer addresses");
            }
            let chosen: Held = all
                .into_iter()
                .filter(|(_, found)| found.node.as_ref() == Some(&self.node))
                .map(|(address, found)| (address, found.services))
                .collect();
            let new = self.take_over(&to_held, chosen);
            fresh.retain(|address, _| to_held.borrow().contains_key(address));
            links.announce(new.keys().copied());
            fresh.extend(new.keys().map(|address| (*address, REPEATS)));
            self.tell(&new).await;
        }
        to_held.send_replace(Held::new());
        self.metrics.addresses.set(0);
        term.cancel();
        links.end().await;
    }

    /// Makes the chosen addresses those that are answered for, and returns the new ones.
    fn take_over(&self, held: &watch::Sender<Held>, chosen: Held) -> Held {
        let before = held.borrow().clone();
        let new = chosen.iter().filter(|(address, _)| !before.contains_key(*address));
        let new: Held = new.map(|(address, services)| (*address, services.clone())).collect();
        for address in before.keys().filter(|address| !chosen.contains_key(*address)) {
            info!(%address, "not answering for this address any more");
        }
        self.metrics.addresses.set(i64::try_from(chosen.len()).unwrap_or(i64::MAX));
        held.send_replace(chosen);
        new
    }

    /// Tells on the Services which node answers for them now.
    async fn tell(&self, new: &Held) {
        for (address, services) in new {
            info!(%address, "answering for this address");
            for service in services {
                let message = format!("node {} answers for {address}", self.node);
                let told = ("NodeAssigned", message.as_str());
                if let Err(error) = kubeapi::report_on_service(&self.client, service, told, COMPONENT).await {
                    warn!(%error, %service, "cannot write an event");
                }
            }
        }
    }
}
