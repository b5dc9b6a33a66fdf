//! What is answered at one address.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::block::Block;
use crate::metrics::{Metrics, Tally};
use crate::wire::{DomainName, QueryName};

/// The server blocks of one address, by zone.
#[derive(Debug)]
pub(super) struct Routes {
    /// Those with more labels first.
    routes: Vec<Route>,
    /// Counts what belongs to no zone.
    pub(super) dropped: Arc<Tally>,
}

/// The server block of one zone.
#[derive(Debug)]
pub(super) struct Route {
    zone: DomainName,
    pub(super) block: Arc<Block>,
    pub(super) tally: Arc<Tally>,
}

impl Routes {
    /// The blocks among `blocks` that answer at `address`.
    pub(super) fn at(address: SocketAddr, blocks: &[Arc<Block>], metrics: &Metrics) -> Self {
        let server = server_at(address);
        let tally = |zone: String| metrics.tally(server.clone(), zone);
        let mut routes = Vec::new();
        for block in blocks {
            for (_, zone) in block.config().served.iter().filter(|(served, _)| *served == address) {
                let tally = tally(format!("{zone}."));
                routes.push(Route { zone: zone.clone(), block: Arc::clone(block), tally });
            }
        }
        routes.sort_by_key(|route| std::cmp::Reverse(route.zone.label_count()));
        Self { routes, dropped: tally("dropped".into()) }
    }

    /// The block of the longest zone that `name` is in.
    pub(super) fn find(&self, name: &QueryName) -> Option<&Route> {
        self.routes.iter().find(|route| name.labels_under(&route.zone).is_some())
    }
}

/// What the server at `address` is called in metrics, as CoreDNS has it: all addresses together are one server.
fn server_at(address: SocketAddr) -> String {
    if address.ip().is_unspecified() { format!("dns://:{}", address.port()) } else { format!("dns://{address}") }
}

/// Where the readers of an address find its blocks; replaced as a whole.
pub(super) type SharedRoutes = Arc<ArcSwap<Routes>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_called_by_the_address_it_is_bound_to() {
        let name = |address: &str| server_at(address.parse().unwrap());
        assert_eq!([name("0.0.0.0:53"), name("[::]:53")], ["dns://:53"; 2]);
        assert_eq!([name("10.0.0.1:53"), name("[fd00::1]:53")], ["dns://10.0.0.1:53", "dns://[fd00::1]:53"]);
    }
}
