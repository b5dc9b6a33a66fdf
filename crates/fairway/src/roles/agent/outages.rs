//! Services that lost their last endpoint. Pure.

use compile::plan::endpoints_of_any_port;
use model::{Cluster, Fitness, NamespacedName, Rejected, RejectedReason, Service, ServiceKind, SharedMap, Subject};

/// The Services that had somebody to serve them in `old` and have nobody in `new`.
///
/// A Service that has had nobody yet is not among them: its pods are about to come.
pub(super) fn between(old: &Cluster, new: &Cluster) -> Vec<Rejected> {
    let changed = SharedMap::changes_between(&old.endpoint_slices, &new.endpoint_slices);
    let services = changed.iter().filter_map(|change| new.services.get(change.key));
    let lost = services.filter(|service| refuses(service) && is_served(old, service) && !is_served(new, service));
    lost.map(|service| outage(&service.name)).collect()
}

/// Whether clients of a Service notice when no endpoint of it is ready: it has an address that no other proxy serves, and
/// keeps to those that are.
fn refuses(service: &Service) -> bool {
    matches!(service.kind, ServiceKind::Virtual { .. }) && !service.publish_not_ready && !service.delegated
}

fn is_served(cluster: &Cluster, service: &Service) -> bool {
    let families = service.kind.families().into_iter();
    let mut endpoints = families.flat_map(|family| endpoints_of_any_port(service, family, cluster));
    endpoints.any(|(_, endpoint)| service.fitness_of(endpoint) > Fitness::Unfit)
}

fn outage(service: &NamespacedName) -> Rejected {
    Rejected {
        object: Subject::service(service),
        field: "endpoints".into(),
        why: "none is ready any more; connections are refused until one is".into(),
        reason: RejectedReason::NoReadyEndpoints,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use compile::sample::{plain_cluster, plain_endpoints, plain_service, plain_slice};

    use super::*;

    /// A Service of two endpoints, each `ready`, `serving` and `terminating` as given.
    fn cluster(ready: bool, serving: bool, terminating: bool) -> Cluster {
        let mut cluster = plain_cluster(1, 2);
        let mut slice = plain_slice(&plain_service(0), plain_endpoints(0, 2));
        for endpoint in &mut slice.endpoints {
            (endpoint.ready, endpoint.serving, endpoint.terminating) = (ready, serving, terminating);
        }
        cluster.insert_slice(slice);
        cluster
    }

    #[test]
    fn a_service_that_lost_its_last_endpoint_is_told_once() {
        let (up, down) = (cluster(true, true, false), cluster(false, false, false));
        let told: Vec<String> = between(&up, &down).iter().map(ToString::to_string).collect();
        let expected =
            "Service shop/plain000000: endpoints: none is ready any more; connections are refused until one is";
        assert_eq!(told, [expected]);
        assert_eq!(between(&down, &down), []);
        assert_eq!(between(&down, &up), []);
        assert_eq!(between(&Cluster::default(), &down), [], "it never had one");
    }

    #[test]
    fn endpoints_that_serve_while_they_terminate_and_services_that_are_gone_are_no_outage() {
        let (up, leaving) = (cluster(true, true, false), cluster(false, true, true));
        assert_eq!(between(&up, &leaving), []);
        let mut gone = cluster(false, false, false);
        gone.services.remove(&plain_service(0).name);
        assert_eq!(between(&up, &gone), []);
        let with = |service: Service| {
            let mut down = cluster(false, false, false);
            down.services.insert(service.name.clone(), Arc::new(service));
            down
        };
        assert_eq!(between(&up, &with(Service { publish_not_ready: true, ..plain_service(0) })), []);
        assert_eq!(between(&up, &with(Service { delegated: true, ..plain_service(0) })), [], "another proxy serves it");
    }
}
