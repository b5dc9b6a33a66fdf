//! Addresses for Services of type LoadBalancer: who asks for them, and where they come from.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::{IpFamily, Name, Selector};

/// The class of load balancers that Fairway is.
pub const LOAD_BALANCER_CLASS: &str = "fairway.network/lb";

/// What a Service of type LoadBalancer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadBalancerRequest {
    /// Which load balancer it is for (`spec.loadBalancerClass`); the cluster's default one when unset.
    pub class: Option<Name>,
    /// The families it wants addresses of, the primary first.
    pub families: Vec<IpFamily>,
    /// Whether an address of one family alone is of no use to it (`RequireDualStack`).
    pub needs_both: bool,
    /// The addresses it wants; any when unset.
    pub wish: Option<AddressWish>,
    /// The pool they are to come from; any that is open to it when unset.
    pub pool: Option<Name>,
    /// Services of one key may share addresses, as long as no two have the same port.
    pub sharing_key: Option<Name>,
    /// The Service's labels, by which pools choose.
    pub labels: BTreeMap<Name, Name>,
    /// When the Service was made, as time since 1970.
    pub created: Duration,
    /// Whether the Service is on its way out.
    pub leaving: bool,
    /// Whether the addresses in its status were given by Fairway, as the status says.
    pub is_given: bool,
    /// Whether another load balancer has written addresses or names into its status.
    pub is_served_by_other: bool,
}

/// Addresses that a Service asks for by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressWish {
    /// The field that asks.
    pub field: String,
    /// At most one of each family. Empty if not all that the field says can be used, which is told on the Service: those
    /// who ask for certain addresses want no others.
    pub addresses: Vec<IpAddr>,
}

/// Addresses that Services of type LoadBalancer can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressPool {
    /// Its name.
    pub name: Name,
    /// The addresses, in the order of the object.
    pub ranges: Vec<AddressRange>,
    /// Whether Services get addresses of it that did not ask for it.
    pub auto_assign: bool,
    /// Whether the first and last address of every IPv4 /24 are left out, which some clients refuse to talk to.
    pub avoids_buggy: bool,
    /// The Services it is for.
    pub services: Selector,
    /// The namespaces of Services it is for.
    pub namespaces: Selector,
    /// When it was made, as time since 1970.
    pub created: Duration,
    /// Which version of its spec this is.
    pub generation: i64,
    /// What its status says.
    pub status: PoolStatus,
}

/// What the status of a pool says, and what it should say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolStatus {
    /// How many addresses there are; as many as the API can count when there are more.
    pub total: i64,
    /// How many of them Services have.
    pub used: i64,
    /// Why nothing is given from it.
    pub fault: Option<String>,
    /// The version of the spec it is about.
    pub generation: i64,
}

/// Addresses from the first to the last, both of one family and in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    first: IpAddr,
    last: IpAddr,
}

impl LoadBalancerRequest {
    /// Whether the request is for Fairway; `is_default` says whether one that names no load balancer is. What another
    /// one serves already is left to it.
    pub fn is_for_us(&self, is_default: bool) -> bool {
        let is_left = is_default && !self.is_served_by_other;
        self.class.as_ref().map_or(is_left, |class| class.as_str() == LOAD_BALANCER_CLASS)
    }
}

impl AddressPool {
    /// Whether an address is one of the pool's.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(address)) && !self.leaves_out(address)
    }

    /// Whether the pool leaves an address out although it lies in its ranges.
    pub fn leaves_out(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.avoids_buggy && matches!(v4.octets()[3], 0 | 255),
            IpAddr::V6(_) => false,
        }
    }
}

impl AddressRange {
    /// The addresses from `first` to `last`, if there are any.
    pub fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        (IpFamily::of(first) == IpFamily::of(last) && first <= last).then_some(Self { first, last })
    }

    /// The first address.
    pub const fn first(&self) -> IpAddr {
        self.first
    }

    /// Their family.
    pub const fn family(&self) -> IpFamily {
        IpFamily::of(self.first)
    }

    /// Whether an address is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        IpFamily::of(address) == self.family() && (self.first..=self.last).contains(&address)
    }

    /// Whether an address is in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.family() == other.family() && self.first <= other.last && other.first <= self.last
    }

    /// The addresses in both.
    pub fn shared_with(&self, other: &Self) -> Option<Self> {
        self.overlaps(other).then(|| Self { first: self.first.max(other.first), last: self.last.min(other.last) })
    }

    /// The addresses of both, if they are one range.
    pub fn joined_with(&self, other: &Self) -> Option<Self> {
        let touch = self.family() == other.family()
            && number(self.first) <= number(other.last).saturating_add(1)
            && number(other.first) <= number(self.last).saturating_add(1);
        touch.then(|| Self { first: self.first.min(other.first), last: self.last.max(other.last) })
    }

    /// How many there are; as many as the number can say when there are more.
    pub fn len(&self) -> u64 {
        u64::try_from((number(self.last) - number(self.first)).saturating_add(1)).unwrap_or(u64::MAX)
    }

    /// The address that so many come before; none when there are not as many.
    pub fn nth(&self, index: u64) -> Option<IpAddr> {
        let address = number(self.first).checked_add(u128::from(index))?;
        let address = match self.first {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(address).ok()?)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(address)),
        };
        self.contains(address).then_some(address)
    }

    /// Never: a range has at least one address.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// The address after one of the range's, if that is one of them too.
    pub fn after(&self, address: IpAddr) -> Option<IpAddr> {
        let next = match address {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits().checked_add(1)?)),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits().checked_add(1)?)),
        };
        self.contains(next).then_some(next)
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: &str, last: &str) -> Option<AddressRange> {
        AddressRange::new(first.parse().unwrap(), last.parse().unwrap())
    }

    #[test]
    fn a_range_has_both_its_ends() {
        let range = range("10.0.0.254", "10.0.1.1").unwrap();
        assert_eq!(range.len(), 4);
        let next = range.after("10.0.0.255".parse().unwrap());
        assert_eq!((next, range.after("10.0.1.1".parse().unwrap())), ("10.0.1.0".parse().ok(), None));
    }

    #[test]
    fn ends_of_two_families_or_in_the_wrong_order_are_no_range() {
        assert_eq!(range("10.0.0.2", "10.0.0.1"), None);
        assert_eq!(range("10.0.0.2", "fd00::1"), None);
    }

    #[test]
    fn ranges_that_overlap_or_touch_are_one() {
        let one = range("10.0.0.1", "10.0.0.5").unwrap();
        for (first, last, joined) in [
            ("10.0.0.3", "10.0.0.9", range("10.0.0.1", "10.0.0.9")),
            ("10.0.0.6", "10.0.0.9", range("10.0.0.1", "10.0.0.9")),
            ("10.0.0.2", "10.0.0.3", range("10.0.0.1", "10.0.0.5")),
            ("10.0.0.7", "10.0.0.9", None),
            ("fd00::1", "fd00::2", None),
        ] {
            let other = range(first, last).unwrap();
            assert_eq!([one.joined_with(&other), other.joined_with(&one)], [joined, joined], "{other}");
        }
        let other = range("10.0.0.3", "10.0.0.9").unwrap();
        assert_eq!(one.shared_with(&other), range("10.0.0.3", "10.0.0.5"));
    }

    #[test]
    fn more_addresses_than_can_be_counted_are_as_many_as_can() {
        assert_eq!(range("fd00::", "fdff::").unwrap().len(), u64::MAX);
    }
}
