//! Answers to load balancers that ask whether this node has endpoints of a Service (`spec.healthCheckNodePort`).

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
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

/// Where one family of one Service is asked about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    service: NamespacedName,
    port: NonZeroU16,
    family: IpFamily,
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
    let checks = served.health_checks.iter();
    let of_check = checks.flat_map(|(service, check)| {
        let families = check.local_endpoints.keys();
        families.map(|family| Place { service: service.clone(), port: check.port, family: *family })
    });
    of_check.collect()
}

async fn serve_place(place: Place, checks: HealthChecks, cancel: CancellationToken) {
    let address = match place.family {
        IpFamily::V4 => SocketAddr::from((Ipv4Addr::UNSPECIFIED, place.port.get())),
        IpFamily::V6 => SocketAddr::from((Ipv6Addr::UNSPECIFIED, place.port.get())),
    };
    match listen(address) {
        Ok(listener) => {
            let find =
                move |_: &str| Some(page(&place, &checks.served.borrow(), checks.health.is_in_step(Timestamp::now())));
            StatusPages::of(listener).serve(find, cancel).await;
        }
        Err(error) => {
            warn!(service = %place.service, %address, %error, "cannot serve the health check of a Service");
            checks.rejections.tell(vec![place.rejected(&checks.node, &error)]);
        }
    }
}

impl Place {
    fn rejected(&self, node: &str, error: &std::io::Error) -> Rejected {
        Rejected {
            object: Subject::service(&self.service),
            field: "spec.healthCheckNodePort".to_owned(),
            why: format!("node {node} cannot listen at port {} ({error}); free the port or choose another", self.port),
            reason: RejectedReason::FailedToStartServiceHealthcheck,
        }
    }
}

/// The answer in kube-proxy's form. Its header is a weight for load balancers that spread by it.
fn page(place: &Place, served: &Served, in_step: bool) -> Page {
    let check = served.health_checks.get(&place.service);
    let count = check.and_then(|check| check.local_endpoints.get(&place.family)).copied().unwrap_or_default();
    let body = serde_json::json!({
        "service": { "namespace": place.service.namespace.as_str(), "name": place.service.name.as_str() },
        "localEndpoints": count,
        "serviceProxyHealthy": in_step,
    });
    let page = if count > 0 && in_step { Page::fine(body.to_string()) } else { Page::unavailable(body.to_string()) };
    page.json()
        .with_header("x-content-type-options", "nosniff")
        .with_header("x-load-balancing-endpoint-weight", count.to_string())
}
