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
        let server = format!("dns://:{}", address.port());
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

/// Where the readers of an address find its blocks; replaced as a whole.
pub(super) type SharedRoutes = Arc<ArcSwap<Routes>>;
