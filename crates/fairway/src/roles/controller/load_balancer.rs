//! Addresses for Services of type LoadBalancer: the decision is `compile::load_balancer`'s, here it is written.

mod unseen;

use std::net::IpAddr;
use std::sync::Arc;

use compile::load_balancer::{Assignment, assign};
use jiff::Timestamp;
use kubeapi::{CONTROLLER, Client, ClusterWatch, ObjectKind, RejectionSender, WriteError};
use model::{Cluster, NamespacedName, Subject};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::RETELL;
use super::backoff::Backoff;
use super::metrics::Metrics;
use super::news::News;
use unseen::{Unseen, addresses_of};

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
        // Nodes for the addresses they and their pods have, and ranges of cluster IPs: no Service can have these as well.
        let kinds = vec![
            ObjectKind::Service,
            ObjectKind::Namespace,
            ObjectKind::LoadBalancerPool,
            ObjectKind::Node,
            ObjectKind::ServiceCidr,
        ];
        let mut watch = ClusterWatch::start(self.client.clone(), kinds, term.clone());
        let (tell, rejections) = kubeapi::rejections();
        let snapshots = watch.snapshots();
        tokio::join!(
            term.run_until_cancelled(self.follow(snapshots, &tell)),
            term.run_until_cancelled(kubeapi::report_refusals(&mut watch, rejections, &self.client, CONTROLLER)),
        );
        watch.join().await;
    }

    async fn follow(&self, mut snapshots: watch::Receiver<Option<Cluster>>, tell: &RejectionSender) {
        let mut news = News::default();
        let mut writes = Writes::default();
        let mut due: Option<Instant> = None;
        loop {
            tokio::select! {
                changed = snapshots.changed() => if changed.is_err() { return },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            due = None;
            let Some(cluster) = snapshots.borrow_and_update().clone() else { continue };
            let now = Instant::now();
            let cluster = writes.unseen.lay_over(cluster, now);
            let assignment = assign(&cluster, self.is_default);
            self.metrics.without_address.set(count_without(&assignment));
            let is_told = news.tell(&assignment.rejected, |news| tell.tell(news));
            self.write(&cluster, &assignment, &mut writes).await;
            let retell = (!is_told).then(|| Instant::now() + RETELL);
            due = [retell, writes.unseen.next(), writes.backoff.next(now)].into_iter().flatten().min();
        }
    }

    /// Writes what differs. One that cannot be written, as one deleted meanwhile, does not keep the others from theirs.
    /// Services first: what a pool says of itself follows from them.
    async fn write(&self, cluster: &Cluster, assignment: &Assignment, writes: &mut Writes) {
        for (service, addresses) in &assignment.addresses {
            if !says(cluster, service, addresses) && writes.is_due(&Subject::service(service)) {
                self.write_addresses(cluster, (service, addresses), writes).await;
            }
        }
        for service in &assignment.released {
            let object = Subject::service(service);
            if writes.is_due(&object) {
                match kubeapi::publish_release(&self.client, service, Timestamp::now()).await {
                    Ok(()) => {
                        info!(%service, "load balancer addresses given back");
                        writes.backoff.succeeded(&object);
                    }
                    Err(error) => writes.backoff.failed(object, &error, Instant::now()),
                }
            }
        }
        for (name, status) in &assignment.pools {
            let object = Subject::pool(name);
            let is_other = cluster.pools.get(name).is_some_and(|pool| pool.status != *status);
            if is_other && writes.is_due(&object) {
                match kubeapi::publish_pool_status(&self.client, name, status, Timestamp::now()).await {
                    Ok(()) => writes.backoff.succeeded(&object),
                    Err(error) => writes.backoff.failed(object, &error, Instant::now()),
                }
            }
        }
        writes.backoff.retain(|object| exists(cluster, object));
    }

    async fn write_addresses(
        &self,
        cluster: &Cluster,
        (service, addresses): (&NamespacedName, &[IpAddr]),
        writes: &mut Writes,
    ) {
        let object = Subject::service(service);
        let held = cluster.services.get(service).map(|service| addresses_of(service)).unwrap_or_default();
        let written = kubeapi::publish_addresses(&self.client, service, (held, addresses), Timestamp::now()).await;
        // Nobody else gets addresses that this one may have.
        if written.as_ref().err().is_none_or(WriteError::may_be_in_force) {
            writes.unseen.wrote(cluster, service, addresses, Instant::now());
        }
        match written {
            Ok(()) => {
                writes.backoff.succeeded(&object);
                info!(%service, ?addresses, "load balancer addresses");
                self.metrics.addresses_given.inc();
            }
            Err(error) => writes.backoff.failed(object, &error, Instant::now()),
        }
    }
}

/// What is remembered of writes from one snapshot to the next.
#[derive(Debug, Default)]
struct Writes {
    unseen: Unseen,
    backoff: Backoff,
}

impl Writes {
    /// Whether an object may be written now, as its last write did not fail just now.
    fn is_due(&self, object: &Subject) -> bool {
        self.backoff.due(object).is_none_or(|due| due <= Instant::now())
    }
}

/// Whether a Service, or a pool, is still there.
fn exists(cluster: &Cluster, object: &Subject) -> bool {
    match &object.namespace {
        Some(namespace) => {
            cluster.services.contains_key(&NamespacedName::new(namespace.clone(), object.name.clone())) //
        }
        None => cluster.pools.contains_key(&object.name),
    }
}

/// Whether the status of a Service says already that it has these addresses.
fn says(cluster: &Cluster, service: &NamespacedName, addresses: &[IpAddr]) -> bool {
    let Some(service) = cluster.services.get(service) else { return true };
    let is_given = service.load_balancer.as_ref().is_some_and(|request| request.is_given);
    addresses_of(service) == addresses && is_given != addresses.is_empty()
}

fn count_without(assignment: &Assignment) -> i64 {
    let without = assignment.addresses.values().filter(|addresses| addresses.is_empty()).count();
    i64::try_from(without).unwrap_or(i64::MAX)
}
