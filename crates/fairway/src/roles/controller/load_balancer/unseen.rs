//! Addresses that were written and that no snapshot shows yet.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use model::{Cluster, NamespacedName, Service, ServiceKind};
use tokio::time::Instant;

use crate::roles::controller::PATIENCE;

/// What is remembered from one snapshot of the Services to the next, so that no address is given to a second Service
/// before the first is seen to have it.
#[derive(Debug, Default)]
pub(super) struct Unseen(BTreeMap<NamespacedName, Write>);

#[derive(Debug)]
struct Write {
    /// The Service that the write was decided on.
    basis: Arc<Service>,
    /// What was written between `basis` and `addresses`.
    earlier: Vec<Vec<IpAddr>>,
    addresses: Vec<IpAddr>,
    until: Instant,
}

impl Write {
    /// Whether a snapshot with this Service is older than the write.
    fn is_newer_than(&self, shown: &Service) -> bool {
        status(shown) == status(&self.basis) || self.earlier.iter().any(|written| written == addresses_of(shown))
    }
}

impl Unseen {
    /// Notes that addresses were written, as was decided on `cluster`.
    pub(super) fn wrote(&mut self, cluster: &Cluster, service: &NamespacedName, addresses: &[IpAddr], now: Instant) {
        let (addresses, until) = (addresses.to_vec(), now + PATIENCE);
        if let Some(write) = self.0.get_mut(service) {
            // What `cluster` has of it was laid over: snapshots still show what the first write was decided on.
            write.earlier.push(std::mem::replace(&mut write.addresses, addresses));
            write.until = until;
        } else if let Some(basis) = cluster.services.get(service) {
            let write = Write { basis: Arc::clone(basis), earlier: Vec::new(), addresses, until };
            self.0.insert(service.clone(), write);
        }
    }

    /// The snapshot as it will be once it shows what was written.
    pub(super) fn lay_over(&mut self, mut cluster: Cluster, now: Instant) -> Cluster {
        self.0.retain(|service, write| {
            let shown = cluster.services.get(service);
            now < write.until && shown.is_some_and(|shown| write.is_newer_than(shown))
        });
        for (name, write) in &self.0 {
            if let Some(service) = cluster.services.get(name) {
                let service = with_addresses(service, &write.addresses);
                cluster.services.insert(name.clone(), Arc::new(service));
            }
        }
        cluster
    }

    /// When a snapshot is to be looked at again even if nothing changes.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().map(|write| write.until).min()
    }
}

/// What a write changes, and which of several Services of one name it belongs to.
fn status(service: &Service) -> (&[IpAddr], Option<(bool, Duration)>) {
    let request = service.load_balancer.as_ref();
    (addresses_of(service), request.map(|request| (request.is_given, request.created)))
}

/// The addresses the status of a Service has.
pub(super) fn addresses_of(service: &Service) -> &[IpAddr] {
    match &service.kind {
        ServiceKind::Virtual { load_balancer_ips, .. } => load_balancer_ips,
        _ => &[],
    }
}

fn with_addresses(service: &Service, addresses: &[IpAddr]) -> Service {
    let mut service = service.clone();
    if let ServiceKind::Virtual { load_balancer_ips, .. } = &mut service.kind {
        *load_balancer_ips = addresses.to_vec();
    }
    if let Some(request) = &mut service.load_balancer {
        request.is_given = !addresses.is_empty();
        request.is_served_by_other = false;
    }
    service
}

#[cfg(test)]
mod tests {
    use compile::load_balancer::assign;
    use model::from_kube::{self, ALLOCATED_CONDITION};
    use serde_json::json;

    use super::*;

    /// A snapshot with a pool of two addresses and Services that have some of them; the later in the list the older.
    fn cluster(services: &[(&str, &[&str])]) -> Cluster {
        let mut cluster = Cluster::default();
        let pool = json!({ "metadata": { "name": "default" }, "spec": { "addresses": ["10.0.0.1-10.0.0.2"] } });
        let pool = from_kube::address_pool(&serde_json::from_value(pool).unwrap()).fact.unwrap();
        cluster.pools.insert(pool.name.clone(), Arc::new(pool));
        for (age, (name, has)) in services.iter().enumerate() {
            let ingress: Vec<_> = has.iter().map(|ip| json!({ "ip": ip, "ipMode": "VIP" })).collect();
            let status = if has.is_empty() { "False" } else { "True" };
            let created = format!("2026-01-01T00:00:{:02}Z", 59 - age);
            let service = json!({
                "metadata": { "namespace": "shop", "name": name, "creationTimestamp": created },
                "spec": { "type": "LoadBalancer", "clusterIP": "10.96.0.1", "ports": [{ "port": 80 }] },
                "status": { "loadBalancer": { "ingress": ingress }, "conditions": [{ "type": ALLOCATED_CONDITION,
                    "status": status, "reason": "", "message": "", "lastTransitionTime": created }] },
            });
            let service = from_kube::service(&serde_json::from_value(service).unwrap()).fact.unwrap();
            cluster.services.insert(service.name.clone(), Arc::new(service));
        }
        cluster
    }

    fn shop(name: &str) -> NamespacedName {
        NamespacedName::new("shop", name)
    }

    /// What a Service is given by a snapshot.
    fn given(cluster: &Cluster, service: &str) -> String {
        assign(cluster, true).addresses[&shop(service)].iter().map(ToString::to_string).collect()
    }

    fn wrote(unseen: &mut Unseen, basis: &Cluster, service: &str, address: &str, now: Instant) {
        unseen.wrote(basis, &shop(service), &[address.parse().unwrap()], now);
    }

    #[test]
    fn an_address_that_was_written_is_given_to_nobody_else_before_a_snapshot_shows_it() {
        let (mut unseen, start) = (Unseen::default(), Instant::now());
        let basis = cluster(&[("web", &[])]);
        let written = given(&basis, "web");
        wrote(&mut unseen, &basis, "web", &written, start);
        let wants_the_same = |name: &&str| given(&cluster(&[(name, &[])]), name) == written;
        let older = ["one", "two", "three", "four", "five"].into_iter().find(wants_the_same).unwrap();
        let stale = cluster(&[("web", &[]), (older, &[])]);
        assert_eq!(given(&stale, older), written, "what the snapshot alone would give");
        let laid_over = unseen.lay_over(stale, start);
        assert_eq!(given(&laid_over, "web"), written);
        assert_ne!(given(&laid_over, older), written);
        assert_eq!(unseen.next(), Some(start + PATIENCE));
    }

    #[test]
    fn what_a_snapshot_shows_instead_of_a_write_counts() {
        let start = Instant::now();
        for shown in [cluster(&[("web", &["10.0.0.1"])]), cluster(&[("web", &["10.0.0.2"])]), cluster(&[])] {
            let mut unseen = Unseen::default();
            wrote(&mut unseen, &cluster(&[("web", &[])]), "web", "10.0.0.1", start);
            assert_eq!(unseen.lay_over(shown.clone(), start).services, shown.services);
            assert_eq!(unseen.next(), None);
        }
    }

    #[test]
    fn a_second_write_before_the_first_shows_is_remembered_as_well() {
        let (mut unseen, start) = (Unseen::default(), Instant::now());
        let stale = cluster(&[("web", &[]), ("older", &[])]);
        wrote(&mut unseen, &stale, "web", "10.0.0.2", start);
        let laid_over = unseen.lay_over(stale.clone(), start);
        wrote(&mut unseen, &laid_over, "web", "10.0.0.1", start);
        let shows_first = cluster(&[("web", &["10.0.0.2"]), ("older", &[])]);
        for snapshot in [stale, shows_first] {
            let laid_over = unseen.lay_over(snapshot, start);
            assert_eq!((given(&laid_over, "web"), given(&laid_over, "older")), ("10.0.0.1".into(), "10.0.0.2".into()));
        }
        let shows_second = cluster(&[("web", &["10.0.0.1"]), ("older", &[])]);
        unseen.lay_over(shows_second, start);
        assert_eq!(unseen.next(), None);
    }

    #[test]
    fn a_write_that_never_shows_is_forgotten_in_time() {
        let (mut unseen, start) = (Unseen::default(), Instant::now());
        let basis = cluster(&[("web", &[])]);
        wrote(&mut unseen, &basis, "web", "10.0.0.1", start);
        assert_eq!(unseen.lay_over(basis.clone(), start + PATIENCE).services, basis.services);
    }
}
