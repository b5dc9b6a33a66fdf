//! What no Service gets: the tunnel's port at the addresses of nodes.
//!
//! Were it a frontend, the packets the tunnel is made of would be translated like any others, those that arrive as well as
//! those that leave, and pods of other nodes be cut off.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use model::{IpFamily, Protocol, Rejected, RejectedReason, Subject};

use super::network::Network;
use super::{Claims, Frontend, Plan, Treatment, holder};

impl Network {
    /// Whether a frontend is where this node or another one receives what comes through the tunnel.
    pub(super) fn reserves(&self, frontend: &Frontend) -> bool {
        self.tunnel.as_ref().is_some_and(|tunnel| {
            (frontend.protocol, frontend.port) == (Protocol::Udp, tunnel.port.get())
                && IpFamily::of(frontend.address) == IpFamily::of(tunnel.endpoint)
                && self.nodes().any(|address| address == frontend.address)
        })
    }

    /// All it reserves.
    fn reserved(&self) -> BTreeSet<Frontend> {
        let port = self.tunnel.as_ref().map(|tunnel| tunnel.port.get());
        let frontends = port
            .into_iter()
            .flat_map(|port| self.nodes().map(move |address| Frontend { address, protocol: Protocol::Udp, port }));
        frontends.filter(|frontend| self.reserves(frontend)).collect()
    }

    /// The addresses of this node and of all others.
    fn nodes(&self) -> impl Iterator<Item = IpAddr> {
        self.held.iter().chain(&self.other_nodes).copied()
    }
}

impl Plan {
    /// Who gets a frontend of those who ask for it, if anybody may.
    pub(super) fn holder_of<'a>(&self, frontend: &Frontend, claims: &'a Claims) -> Option<&'a Arc<Treatment>> {
        holder(claims).filter(|_| !self.network.reserves(frontend))
    }

    /// Those who ask for a frontend that they do not get.
    pub(super) fn losers(&self, frontend: &Frontend, claims: &Claims) -> Vec<Rejected> {
        if self.network.reserves(frontend) {
            return claims.values().map(|treatment| refused_for_tunnel(frontend, treatment)).collect();
        }
        let Some(holder) = holder(claims) else { return Vec::new() };
        let losers = claims.values().filter(|treatment| treatment.service != holder.service);
        losers.map(|treatment| treatment.refused_because_of(frontend, holder)).collect()
    }

    /// Gives and takes the frontends that are reserved in one network and not in the other; [`Plan::network`] is the new one.
    pub(super) fn replace_reserved(&mut self, old: &Network) {
        for frontend in changed(old, &self.network) {
            let asking = self.claims.get(&frontend).and_then(holder).cloned();
            let (before, after) = if old.reserves(&frontend) { (None, asking) } else { (asking, None) };
            self.replace_holder(&frontend, before.as_ref(), after.as_ref());
        }
    }

    /// What is refused and was not in `old`, as what is reserved changed.
    pub(super) fn reserved_since(&self, old: &Self) -> Vec<Rejected> {
        let refused = |plan: &Self, frontend| {
            plan.claims.get(frontend).map(|claims| plan.losers(frontend, claims)).unwrap_or_default()
        };
        let changed = changed(&old.network, &self.network);
        let known: Vec<Rejected> = changed.iter().flat_map(|frontend| refused(old, frontend)).collect();
        let now = changed.iter().flat_map(|frontend| refused(self, frontend));
        now.filter(|rejected| !known.contains(rejected)).collect()
    }
}

/// What is reserved in one network and not in the other.
fn changed(old: &Network, new: &Network) -> Vec<Frontend> {
    old.reserved().symmetric_difference(&new.reserved()).copied().collect()
}

fn refused_for_tunnel(frontend: &Frontend, treatment: &Treatment) -> Rejected {
    Rejected {
        object: Subject::service(&treatment.service),
        field: format!("spec.ports[name={}]", treatment.port),
        why: format!("{frontend} is where nodes tunnel to each other; use another port, or set vxlanPort to another"),
        reason: RejectedReason::Refused,
    }
}
