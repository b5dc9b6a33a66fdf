//! Load balancer addresses on the network the nodes are on: one node answers for each.
//!
//! Which node is decided by `compile::load_balancer::announcements` from the snapshot and the nodes that are there
//! (`kubeapi::Presence`). The node that is chosen tells everybody, answers whoever asks, and watches for others that do; of
//! an address that is new it asks first whether somebody has it.

mod ages;
mod doubles;
mod links;
mod metrics;
mod off_network;
mod places;
mod probes;
mod teller;
mod term;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use compile::load_balancer::takes_part;
use jiff::Timestamp;
use kubeapi::{Client, Presence, RejectionSender};
use model::{Cluster, Name, NamespacedName, NodeNetworks};
use tokio::sync::watch;
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::health::Health;
use ages::Ages;
pub(super) use metrics::AnnouncerMetrics;
use places::{networks_of, read_places};
use teller::Teller;
use term::Term;

/// By this the nodes' Leases are named.
const PURPOSE: &str = "l2";
/// The addresses this node answers for, with the Services that have them.
pub(super) type Held = BTreeMap<IpAddr, BTreeSet<NamespacedName>>;

/// How often a node that takes no part looks whether it is on other networks now, or serves again.
const LOOK: Duration = Duration::from_secs(5);

/// What the announcer needs.
pub(super) struct Announcer {
    pub(super) node: Name,
    pub(super) namespace: String,
    /// After how long a node that fell silent is replaced.
    pub(super) lease_duration: Duration,
    pub(super) client: Client,
    pub(super) following: Following,
    pub(super) rejections: RejectionSender,
    pub(super) metrics: Arc<AnnouncerMetrics>,
}

/// By what the announcer decides.
#[derive(Clone)]
pub(super) struct Following {
    /// What the cluster is, by which all nodes choose alike.
    pub(super) snapshots: watch::Receiver<Option<Cluster>>,
    /// By which snapshot this node's kernel was set up: what it does not serve yet it does not answer for.
    pub(super) in_force: watch::Receiver<Option<Cluster>>,
    pub(super) health: Arc<Health>,
}

impl Following {
    /// Whether this node takes part in answering.
    fn takes_part(&self, node: &Name, networks: &NodeNetworks) -> bool {
        let is_candidate =
            |cluster: &Option<Cluster>| cluster.as_ref().is_some_and(|cluster| takes_part(cluster, node, networks));
        self.health.serves(Timestamp::now())
            && is_candidate(&self.snapshots.borrow())
            && is_candidate(&self.in_force.borrow())
    }

    /// Whether the node is on its way out, as far as is known.
    fn is_leaving(&self, node: &Name) -> bool {
        let cluster = self.snapshots.borrow();
        let found = cluster.as_ref().and_then(|cluster| cluster.nodes.get(node));
        found.is_none_or(|node| node.leaving)
    }
}

impl Announcer {
    /// Announces until `cancel`, while this node is one of those that take part.
    ///
    /// The Lease is given back at the end only if this node will not answer again soon: an agent that is started anew finds it,
    /// and no address moves away and back.
    pub(super) async fn run(mut self, cancel: &CancellationToken) {
        let mut ages = Ages::default();
        while cancel.run_until_cancelled(self.wait_to_take_part(&mut ages)).await.is_some() {
            let end = cancel.child_token();
            let (to_teller, teller) = Teller::new(self.node.clone(), self.client.clone());
            let (term, networks) = Term::begin(&self, (ages, to_teller), &end);
            let owner = (self.node.clone(), networks);
            let place = (self.client.clone(), &*self.namespace);
            let presence = Presence::new(place, PURPOSE, owner, self.lease_duration);
            let (to_present, present) = watch::channel(BTreeMap::new());
            ((), ages, _) = tokio::join!(
                presence.keep(&to_present, &end),
                term.run(present),
                end.run_until_cancelled(teller.run())
            );
            if !cancel.is_cancelled() || self.following.is_leaving(&self.node) {
                presence.leave().await;
            }
        }
    }

    /// Ends once this node takes part in answering for addresses.
    async fn wait_to_take_part(&mut self, ages: &mut Ages) {
        let mut looks = interval(LOOK);
        let mut networks = NodeNetworks::Told(Vec::new());
        loop {
            tokio::select! {
                changed = self.following.in_force.changed() => if changed.is_err() {
                    // No snapshots will come any more: the agent is ending.
                    return std::future::pending().await;
                },
                _ = looks.tick() => match read_places() {
                    Ok(places) => networks = networks_of(&places),
                    Err(error) => warn!(error = format!("{error:#}"), "cannot tell which networks this node is on"),
                },
            }
            if let Some(cluster) = self.following.snapshots.borrow().as_ref() {
                ages.take(cluster, Instant::now());
            }
            if self.following.takes_part(&self.node, &networks) {
                return;
            }
        }
    }
}
