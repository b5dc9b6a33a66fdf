//! Addresses for Services of type LoadBalancer: the decision is `compile::load_balancer`'s, here it is written.

mod unseen;

use std::collections::BTreeSet;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use compile::load_balancer::{Assignment, assign};
use jiff::Timestamp;
use kubeapi::{Client, ClusterWatch, ObjectKind, RejectionSender, StatusError};
use model::{Cluster, NamespacedName, Rejected};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::COMPONENT;
use super::metrics::Metrics;
use unseen::{Unseen, addresses_of};

/// The pause before a new try after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Gives Services their load balancer addresses.
pub(super) struct LoadBalancer {
    pub(super) client: Client,
    /// Whether Services that name no load balancer are Fairway's.
    pub(super) is_default: bool,
    pub(super) metrics: Arc<Metrics>,
}

impl LoadBalancer {
    /// Acts until `term` ends. Begins with a list of its own: what was given before stands in the Services.
    pub(super) async fn run(&self, term: &CancellationToken) {
        // Nodes for the addresses they and their pods have, which no Service can have as well.
        let kinds = vec![ObjectKind::Service, ObjectKind::Namespace, ObjectKind::LoadBalancerPool, ObjectKind::Node];
        let mut watch = ClusterWatch::start(self.client.clone(), kinds, term.clone());
        let (tell, rejections) = kubeapi::rejections();
        let snapshots = watch.snapshots();
        tokio::join!(
            term.run_until_cancelled(self.follow(snapshots, &tell)),
            term.run_until_cancelled(kubeapi::report_refusals(&mut watch, rejections, &self.client, COMPONENT)),
        );
        watch.join().await;
    }

    async fn follow(&self, mut snapshots: watch::Receiver<Option<Cluster>>, tell: &RejectionSender) {
        let mut told = BTreeSet::new();
        let mut unseen = Unseen::default();
        let mut due: Option<Instant> = None;
        loop {
            tokio::select! {
                changed = snapshots.changed() => if changed.is_err() { return },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            due = None;
            let Some(cluster) = snapshots.borrow_and_update().clone() else { continue };
            let cluster = unseen.lay_over(cluster, Instant::now());
            let assignment = assign(&cluster, self.is_default);
            self.metrics.without_address.set(count_without(&assignment));
            let is_told = tell_news(&mut told, &assignment.rejected, |news| tell.tell(news));
            let failed = self.write(&cluster, &assignment, &mut unseen).await;
            for error in &failed {
                warn!(%error, cause = ?error.source(), "trying again");
            }
            let retry = (!failed.is_empty() || !is_told).then(|| Instant::now() + RETRY);
            due = retry.into_iter().chain(unseen.next()).min();
        }
    }

    /// Writes what differs, and tells what failed. One that cannot be written, as one deleted meanwhile, does not keep the
    /// others from theirs. Services first: what a pool says of itself follows from them.
    async fn write(&self, cluster: &Cluster, assignment: &Assignment, unseen: &mut Unseen) -> Vec<StatusError> {
        let mut failed = Vec::new();
        for (service, addresses) in &assignment.addresses {
            if says(cluster, service, addresses) {
                continue;
            }
            let held = cluster.services.get(service).map(|service| addresses_of(service)).unwrap_or_default();
            match kubeapi::publish_addresses(&self.client, service, (held, addresses), Timestamp::now()).await {
                Ok(()) => {
                    unseen.wrote(cluster, service, addresses, Instant::now());
                    info!(%service, ?addresses, "load balancer addresses");
                    self.metrics.addresses_given.inc();
                }
                Err(error) => failed.push(error),
            }
        }
        for (name, status) in &assignment.pools {
            if cluster.pools.get(name).is_some_and(|pool| pool.status != *status) {
                let written = kubeapi::publish_pool_status(&self.client, name, status, Timestamp::now()).await;
                failed.extend(written.err());
            }
        }
        failed
    }
}

/// Whether the status of a Service says already that it has these addresses.
fn says(cluster: &Cluster, service: &NamespacedName, addresses: &[std::net::IpAddr]) -> bool {
    let Some(service) = cluster.services.get(service) else { return true };
    let is_given = service.load_balancer.as_ref().is_some_and(|request| request.is_given);
    addresses_of(service) == addresses && is_given != addresses.is_empty()
}

/// Tells what was not told before, and whether that was taken; what is no longer so is told again when it is so again.
fn tell_news(
    told: &mut BTreeSet<(String, String)>,
    rejected: &[Rejected],
    tell: impl FnOnce(Vec<Rejected>) -> bool,
) -> bool {
    let key = |rejected: &Rejected| (rejected.object.to_string(), rejected.why.clone());
    let now: BTreeSet<_> = rejected.iter().map(key).collect();
    told.retain(|known| now.contains(known));
    let news = rejected.iter().filter(|rejected| !told.contains(&key(rejected))).cloned().collect();
    let is_taken = tell(news);
    if is_taken {
        *told = now;
    }
    is_taken
}

fn count_without(assignment: &Assignment) -> i64 {
    let without = assignment.addresses.values().filter(|addresses| addresses.is_empty()).count();
    i64::try_from(without).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use model::{RejectedReason, Subject};

    use super::*;

    fn rejected(why: &str) -> Rejected {
        let object = Subject::service(&NamespacedName::new("shop", "web"));
        Rejected { object, field: "spec.type".into(), why: why.into(), reason: RejectedReason::IPPoolExhausted }
    }

    #[test]
    fn what_stays_wrong_is_told_once_and_what_comes_back_again() {
        let mut told = BTreeSet::new();
        let mut news = |rejected: &[Rejected], is_taken| {
            let mut count = 0;
            tell_news(&mut told, rejected, |news| {
                count = news.len();
                is_taken
            });
            count
        };
        assert_eq!(news(&[rejected("full")], false), 1);
        assert_eq!(news(&[rejected("full")], true), 1, "too many waited the last time");
        assert_eq!(news(&[rejected("full")], true), 0);
        assert_eq!(news(&[], true), 0);
        assert_eq!(news(&[rejected("full")], true), 1);
    }
}
