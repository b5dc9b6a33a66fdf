//! Answers to load balancers that ask whether this node has endpoints of a Service (`spec.healthCheckNodePort`).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kubeapi::RejectionSender;
use model::{IpFamily, NamespacedName, Rejected, RejectedReason, Subject};
use tokio::sync::watch;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::health::Health;
use super::servers::{Served, Servers, listen};
use crate::roles::status_pages::{Page, StatusPages};

/// How often a port that somebody else had is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// Where one Service is asked about; it is told of the endpoints of the address's family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    service: NamespacedName,
    address: SocketAddr,
}

/// What every health check needs.
#[derive(Clone)]
pub(super) struct HealthChecks {
    /// The node that answers.
    pub(super) node: String,
    pub(super) served: watch::Receiver<Served>,
    pub(super) health: Arc<Health>,
    /// Where users are told that a check cannot be served.
    pub(super) rejections: RejectionSender,
}

/// Serves the health checks until `cancel`.
pub(super) async fn serve(checks: HealthChecks, cancel: CancellationToken) {
    let mut served = checks.served.clone();
    let mut servers = Servers::new(cancel.clone());
    let mut retry = interval(RETRY);
    loop {
        let wanted = places(&served.borrow_and_update());
        servers.keep(&wanted, |place, cancel| tokio::spawn(serve_place(place.clone(), checks.clone(), cancel))).await;
        tokio::select! {
            () = cancel.cancelled() => break,
            changed = served.changed() => if changed.is_err() { break },
            _ = retry.tick() => {}
        }
    }
    servers.end().await;
}

fn places(served: &Served) -> BTreeSet<Place> {
    const ALL: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let addresses = served.health_check_addresses.as_deref().unwrap_or(&ALL);
    let checks = served.health_checks.iter();
    let of_check = checks.flat_map(|(service, check)| {
        let of_family = addresses.iter().filter(|address| check.local_endpoints.contains_key(&IpFamily::of(**address)));
        of_family
            .map(|address| Place { service: service.clone(), address: SocketAddr::new(*address, check.port.get()) })
    });
    of_check.collect()
}

async fn serve_place(place: Place, checks: HealthChecks, cancel: CancellationToken) {
    match listen(place.address) {
        Ok(listener) => {
            let answer = move || page(&place, &checks.served.borrow(), checks.health.is_in_step(Timestamp::now()));
            StatusPages::of(listener).serve_one(answer, cancel).await;
        }
        Err(error) => {
            warn!(service = %place.service, address = %place.address, %error, "cannot serve the health check of a Service");
            checks.rejections.tell_or_drop(vec![place.rejected(&checks.node, &error)]);
        }
    }
}

impl Place {
    fn rejected(&self, node: &str, error: &std::io::Error) -> Rejected {
        Rejected {
            object: Subject::service(&self.service),
            field: "spec.healthCheckNodePort".to_owned(),
            why: format!("node {node} cannot listen at {} ({error}); free the port or choose another", self.address),
            reason: RejectedReason::FailedToStartServiceHealthcheck,
        }
    }
}

/// The answer in kube-proxy's form. Its header is a weight for load balancers that spread by it.
fn page(place: &Place, served: &Served, in_step: bool) -> Page {
    let check = served.health_checks.get(&place.service);
    let family = IpFamily::of(place.address.ip());
    let count = check.and_then(|check| check.local_endpoints.get(&family)).copied().unwrap_or_default();
    let body = body(&place.service, count, in_step);
    let page = if count > 0 && in_step { Page::fine(body) } else { Page::unavailable(body) };
    page.json()
        .with_header("x-content-type-options", "nosniff")
        .with_header("x-load-balancing-endpoint-weight", count.to_string())
}

/// JSON with the fields in kube-proxy's order and on lines of their own, for probes that look for text.
fn body(service: &NamespacedName, count: usize, in_step: bool) -> String {
    let (namespace, name) = (&service.namespace, &service.name);
    format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": \"{namespace}\",\n\t\t\"name\": \"{name}\"\n\t}},\n\
         \t\"localEndpoints\": {count},\n\t\"serviceProxyHealthy\": {in_step}\n}}"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use compile::plan::HealthCheck;

    use super::*;

    fn served(addresses: Option<&[&str]>) -> Served {
        let local_endpoints = BTreeMap::from([(IpFamily::V4, 2)]);
        let check = HealthCheck { port: 30_999.try_into().unwrap(), local_endpoints };
        let addresses = addresses.map(|addresses| addresses.iter().map(|text| text.parse().unwrap()).collect());
        let mut served = Served { health_check_addresses: addresses, ..Served::default() };
        served.health_checks.insert(NamespacedName::new("shop", "cart"), check);
        served
    }

    #[test]
    fn health_checks_are_answered_at_the_addresses_of_node_ports_of_the_services_families() {
        let places = |addresses| -> Vec<_> {
            places(&served(addresses)).iter().map(|place| place.address.to_string()).collect()
        };
        assert_eq!(places(None), ["0.0.0.0:30999"]);
        assert_eq!(places(Some(&["10.89.0.1", "10.90.0.1", "fd00::1"])), ["10.89.0.1:30999", "10.90.0.1:30999"]);
        assert_eq!(places(Some(&[])), [""; 0]);
    }

    #[test]
    fn the_body_is_the_text_kube_proxy_sends() {
        let text = body(&NamespacedName::new("shop", "cart"), 2, true);
        let expected = "{\n\t\"service\": {\n\t\t\"namespace\": \"shop\",\n\t\t\"name\": \"cart\"\n\t},\n\
                        \t\"localEndpoints\": 2,\n\t\"serviceProxyHealthy\": true\n}";
        assert_eq!(text, expected);
    }
}
