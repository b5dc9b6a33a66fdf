//! Other machines that answer for the same addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use datapath::neighbourhood::message::Neighbour;
use datapath::route::MacAddress;
use model::{Rejected, RejectedReason, Subject};
use tokio::time::Instant;

use super::Held;

/// How long another machine must go on claiming an address: while it changes hands among the nodes, two do.
const PATIENCE: Duration = Duration::from_secs(3);
/// A machine that claimed nothing for so long is not in the way any more.
const FORGET: Duration = Duration::from_secs(60);
/// An address is defended so often at most, as RFC 5227 section 2.4 has it: every defence is a claim to the other side.
const DEFENCE_INTERVAL: Duration = Duration::from_secs(10);
/// So many machines are remembered for an address. They need not be real.
const MACHINES: usize = 8;

/// Who else claims which address.
#[derive(Debug, Default)]
pub(super) struct Doubles {
    claimed: BTreeMap<IpAddr, Claimed>,
}

#[derive(Debug, Default)]
struct Claimed {
    machines: BTreeMap<MacAddress, Machine>,
    defended: Option<Instant>,
}

#[derive(Debug)]
struct Machine {
    first: Instant,
    last: Instant,
    is_told: bool,
}

impl Doubles {
    /// Takes in a claim of another machine; what is to be told of it, once.
    pub(super) fn take(&mut self, claim: &Neighbour, held: &Held, now: Instant) -> Vec<Rejected> {
        let Some(services) = held.get(&claim.address) else { return Vec::new() };
        let machines = &mut self.claimed.entry(claim.address).or_default().machines;
        if machines.len() == MACHINES && !machines.contains_key(&claim.mac) {
            return Vec::new();
        }
        let machine = machines.entry(claim.mac).or_insert(Machine { first: now, last: now, is_told: false });
        machine.last = now;
        if now < machine.first + PATIENCE || machine.is_told {
            return Vec::new();
        }
        machine.is_told = true;
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

    /// Whether an address that was claimed is to be announced once more; notes that it was.
    pub(super) fn may_defend(&mut self, address: IpAddr, now: Instant) -> bool {
        let Some(claimed) = self.claimed.get_mut(&address) else { return false };
        let is_due = claimed.defended.is_none_or(|at| now >= at + DEFENCE_INTERVAL);
        if is_due {
            claimed.defended = Some(now);
        }
        is_due
    }

    /// Forgets machines that are gone, and addresses that are not held any more.
    pub(super) fn forget(&mut self, held: &Held, now: Instant) {
        for claimed in self.claimed.values_mut() {
            claimed.machines.retain(|_, machine| now < machine.last + FORGET);
        }
        self.claimed.retain(|address, claimed| held.contains_key(address) && !claimed.machines.is_empty());
    }

    /// How many machines are in the way.
    pub(super) fn count(&self) -> i64 {
        let machines = self.claimed.values().flat_map(|claimed| claimed.machines.values());
        i64::try_from(machines.filter(|machine| machine.is_told).count()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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

    #[test]
    fn a_machine_that_is_gone_for_a_while_begins_anew() {
        let (mut doubles, start) = (Doubles::default(), Instant::now());
        doubles.take(&claim("10.0.0.7"), &held(), start);
        let much_later = start + FORGET;
        doubles.forget(&held(), much_later);
        assert!(doubles.take(&claim("10.0.0.7"), &held(), much_later).is_empty(), "this time it changes hands");
        assert!(!doubles.take(&claim("10.0.0.7"), &held(), much_later + PATIENCE).is_empty());
        assert_eq!(doubles.count(), 1);
        doubles.forget(&held(), much_later + PATIENCE + FORGET);
        assert_eq!(doubles.count(), 0);
    }

    #[test]
    fn an_address_is_defended_once_in_a_while_however_often_it_is_claimed() {
        let (mut doubles, start) = (Doubles::default(), Instant::now());
        let address = "10.0.0.7".parse().unwrap();
        assert!(!doubles.may_defend(address, start), "nobody claims it");
        for mac in 0..=u8::MAX {
            let claim = Neighbour { mac: MacAddress([2, 0, 0, 0, 1, mac]), ..claim("10.0.0.7") };
            doubles.take(&claim, &held(), start);
        }
        assert_eq!(doubles.claimed[&address].machines.len(), MACHINES);
        let defended = (0..30).filter(|second| doubles.may_defend(address, start + Duration::from_secs(*second)));
        assert_eq!(defended.collect::<Vec<_>>(), [0, 10, 20]);
    }
}
