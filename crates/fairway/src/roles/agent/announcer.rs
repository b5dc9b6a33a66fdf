//! Load balancer addresses on the network the nodes are on: one node answers for each.
//!
//! Which node is decided by `compile::load_balancer::announcements` from the snapshot and the nodes that are there
//! (`kubeapi::Presence`). The node that is chosen tells everybody, answers whoever asks, and watches for others that do.

mod doubles;
mod links;
mod metrics;
mod off_network;
mod places;
mod teller;
mod term;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use compile::load_balancer::announcements;
use kubeapi::{Client, Presence, RejectionSender};
use model::{Cluster, Name, NamespacedName};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(super) use metrics::AnnouncerMetrics;
use teller::Teller;
use term::Term;

/// By this the nodes' Leases are named.
const PURPOSE: &str = "l2";
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
            let end = cancel.child_token();
            let (to_teller, teller) = Teller::new(self.node.clone(), self.client.clone());
            let (term, networks) = Term::begin(&self, to_teller, &end);
            let owner = (self.node.clone(), networks);
            let place = (self.client.clone(), &*self.namespace);
            let presence = Presence::new(place, PURPOSE, owner, self.lease_duration);
            let (to_present, present) = watch::channel(BTreeMap::new());
            tokio::join!(
                presence.keep(&to_present, &end),
                term.run(self.snapshots.clone(), present),
                end.run_until_cancelled(teller.run()),
            );
            if cancel.is_cancelled() {
                return;
            }
        }
    }

    /// Ends once there is an address to be answered for, by whichever node.
    async fn wait_for_addresses(&mut self) {
        let has_some = |cluster: &Option<Cluster>| {
            cluster.as_ref().is_some_and(|cluster| !announcements(cluster, &BTreeMap::new()).is_empty())
        };
        if self.snapshots.wait_for(has_some).await.is_err() {
            // No snapshots will come any more: the agent is ending.
            std::future::pending::<()>().await;
        }
    }
}
