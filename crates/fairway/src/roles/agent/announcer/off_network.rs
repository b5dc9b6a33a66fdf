//! Addresses for which no node can be found on a network of theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use compile::load_balancer::{Announcement, Answerer};
use model::{Name, NamespacedName, Rejected, RejectedReason, Subject};
use tokio::time::Instant;

/// How long it must stay so: nodes become known one after the other.
const PATIENCE: Duration = Duration::from_secs(5);

/// What this node is to tell of such addresses.
#[derive(Debug, Default)]
pub(super) struct OffNetwork {
    since: BTreeMap<IpAddr, (Instant, BTreeSet<NamespacedName>)>,
    told: BTreeSet<IpAddr>,
}

impl OffNetwork {
    /// Takes in what was decided for all addresses.
    pub(super) fn follow(&mut self, node: &Name, all: &BTreeMap<IpAddr, Announcement>, now: Instant) {
        let is_to_tell =
            |found: &Announcement| matches!(&found.answerer, Answerer::OffNetwork(teller) if teller == node);
        let mut since = BTreeMap::new();
        for (address, found) in all.iter().filter(|(_, found)| is_to_tell(found)) {
            let began = self.since.get(address).map_or(now, |(began, _)| *began);
            since.insert(*address, (began, found.services.clone()));
        }
        self.since = since;
        self.told.retain(|address| self.since.contains_key(address));
    }

    /// What is to be told by now, once.
    pub(super) fn take(&mut self, now: Instant) -> Vec<Rejected> {
        let due = self.since.iter().filter(|(_, (began, _))| now >= *began + PATIENCE);
        let new: Vec<_> = due.filter(|(address, _)| !self.told.contains(*address)).collect();
        self.told.extend(new.iter().map(|(address, _)| **address));
        let about = |(address, (_, services)): &(&IpAddr, &(Instant, BTreeSet<NamespacedName>))| {
            services.iter().map(|service| rejected(**address, service)).collect::<Vec<_>>()
        };
        new.iter().flat_map(about).collect()
    }
}

fn rejected(address: IpAddr, service: &NamespacedName) -> Rejected {
    let why = format!(
        "nobody answers for {address}: no node that could is on a network of it; take LoadBalancerPools from the networks \
         nodes are on, or give nodes an address or a route on a link of that network"
    );
    let (object, reason) = (Subject::service(service), RejectedReason::NoNodeOnNetwork);
    Rejected { object, field: "status.loadBalancer.ingress".into(), why, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(answerer: Answerer) -> BTreeMap<IpAddr, Announcement> {
        let services = BTreeSet::from([NamespacedName::new("shop", "web")]);
        BTreeMap::from([("10.0.0.7".parse().unwrap(), Announcement { services, answerer })])
    }

    #[test]
    fn an_address_that_stays_off_all_networks_is_told_once_by_one_node() {
        let (mut told, start) = (OffNetwork::default(), Instant::now());
        let off = all(Answerer::OffNetwork("n1".into()));
        told.follow(&"n1".into(), &off, start);
        assert_eq!(told.take(start), [], "other nodes may not be known yet");
        told.follow(&"n1".into(), &off, start + PATIENCE / 2);
        let rejected = told.take(start + PATIENCE);
        assert!(rejected[0].to_string().starts_with(
            "Service shop/web: status.loadBalancer.ingress: nobody answers for 10.0.0.7: no node that could is on"
        ));
        assert_eq!(told.take(start + PATIENCE * 2), []);
        let mut other = OffNetwork::default();
        other.follow(&"n2".into(), &off, start);
        assert_eq!(other.take(start + PATIENCE), []);
    }

    #[test]
    fn an_address_that_finds_a_node_in_time_is_not_told() {
        let (mut told, start) = (OffNetwork::default(), Instant::now());
        told.follow(&"n1".into(), &all(Answerer::OffNetwork("n1".into())), start);
        told.follow(&"n1".into(), &all(Answerer::Node("n1".into())), start + PATIENCE / 2);
        assert_eq!(told.take(start + PATIENCE), []);
    }
}
