//! Other machines that answer for the same addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use datapath::neighbourhood::message::Neighbour;
use datapath::route::MacAddress;
use model::{Rejected, RejectedReason, Subject};
use tokio::time::Instant;

use super::Held;

/// How long another machine must go on claiming an address: while it changes hands among the nodes, two do.
const PATIENCE: Duration = Duration::from_secs(3);

/// Who else claims which address, and since when.
#[derive(Debug, Default)]
pub(super) struct Doubles {
    claimed: BTreeMap<(IpAddr, MacAddress), Instant>,
    told: BTreeSet<(IpAddr, MacAddress)>,
}

impl Doubles {
    /// Takes in a claim of another machine; what is to be told of it, once.
    pub(super) fn take(&mut self, claim: &Neighbour, held: &Held, now: Instant) -> Vec<Rejected> {
        self.claimed.retain(|(address, _), _| held.contains_key(address));
        self.told.retain(|(address, _)| held.contains_key(address));
        let key = (claim.address, claim.mac);
        let Some(services) = held.get(&claim.address) else { return Vec::new() };
        let since = *self.claimed.entry(key).or_insert(now);
        if now < since + PATIENCE || !self.told.insert(key) {
            return Vec::new();
        }
        let why = format!(
            "{} answers for {} too; take the address away from that machine or out of its LoadBalancerPool",
            claim.mac, claim.address
        );
        let rejected = services.iter().map(|service| Rejected {
            object: Subject::service(service),
            field: "status.loadBalancer.ingress".into(),
            why: why.clone(),
            reason: RejectedReason::DuplicateAddress,
        });
        rejected.collect()
    }

    /// How many machines are in the way.
    pub(super) fn count(&self) -> i64 {
        i64::try_from(self.told.len()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use model::NamespacedName;

    use super::*;

    fn held() -> Held {
        Held::from([("10.0.0.7".parse().unwrap(), BTreeSet::from([NamespacedName::new("shop", "web")]))])
    }

    fn claim(address: &str) -> Neighbour {
        Neighbour { mac: MacAddress([2, 0, 0, 0, 0, 9]), address: address.parse().unwrap() }
    }

    #[test]
    fn a_machine_that_keeps_claiming_an_address_is_told_once() {
        let (mut doubles, start) = (Doubles::default(), Instant::now());
        assert!(doubles.take(&claim("10.0.0.7"), &held(), start).is_empty(), "an address may be changing hands");
        let told = doubles.take(&claim("10.0.0.7"), &held(), start + PATIENCE);
        assert_eq!(
            told[0].to_string(),
            "Service shop/web: status.loadBalancer.ingress: 02:00:00:00:00:09 answers for 10.0.0.7 too; take the address \
             away from that machine or out of its LoadBalancerPool"
        );
        assert!(doubles.take(&claim("10.0.0.7"), &held(), start + PATIENCE * 2).is_empty());
        assert_eq!(doubles.count(), 1);
    }

    #[test]
    fn claims_of_other_addresses_mean_nothing() {
        let (mut doubles, start) = (Doubles::default(), Instant::now());
        doubles.take(&claim("10.0.0.8"), &held(), start);
        assert!(doubles.take(&claim("10.0.0.8"), &held(), start + PATIENCE).is_empty());
    }
}
