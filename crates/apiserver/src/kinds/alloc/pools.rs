//! Ranges of addresses and ports, and which of them are taken.

use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::IpNet;

/// Why a particular address or port cannot be had, in Kubernetes' words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// Another Service has the address.
    #[error("provided IP is already allocated")]
    AddressTaken,
    /// The address names the network or all of it.
    #[error("the provided IP ({address}) is not in the valid range. The range of valid IPs is {block}")]
    AddressOutOfRange {
        /// The address asked for.
        address: IpAddr,
        /// The block it would have to be in.
        block: IpNet,
    },
    /// The address is of another network.
    #[error("the provided network does not match the current range")]
    OtherNetwork,
    /// Another Service has the port.
    #[error("provided port is already allocated")]
    PortTaken,
    /// The port is outside of the range.
    #[error("provided port is not in the valid range. The range of valid ports is {first}-{last}")]
    PortOutOfRange {
        /// The lowest port of the range.
        first: u16,
        /// The highest port of the range.
        last: u16,
    },
}

/// The cluster addresses of one family.
///
/// The lower part of the block is used last when nobody asks for a particular address, so that fixed addresses chosen
/// from there rarely collide with dynamic ones. The first address belongs to the Service `kubernetes`.
#[derive(Debug)]
pub struct ClusterIpAllocator {
    block: IpNet,
    taken: HashSet<IpAddr>,
}

impl ClusterIpAllocator {
    /// All addresses of `block`, free.
    pub fn new(block: IpNet) -> Self {
        Self { block: block.trunc(), taken: HashSet::new() }
    }

    /// The API's name of the addresses' family.
    pub fn family(&self) -> &'static str {
        match self.block {
            IpNet::V4(_) => "IPv4",
            IpNet::V6(_) => "IPv6",
        }
    }

    /// Whether the address is of this block.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.block.contains(&address)
    }

    /// Whether the address can be had. `owner_of_first` may have the first one.
    ///
    /// # Errors
    /// When it is taken, or not one that can be given to a Service.
    pub fn check(&self, address: IpAddr, owner_of_first: bool) -> Result<(), PoolError> {
        if !self.contains(address) {
            return Err(PoolError::OtherNetwork);
        }
        let Some(index) = self.index_of(address) else {
            return Err(PoolError::AddressOutOfRange { address, block: self.block });
        };
        let reserved = index == 0 && !owner_of_first;
        if reserved || self.taken.contains(&address) { Err(PoolError::AddressTaken) } else { Ok(()) }
    }

    /// A free address that `is_free` accepts as well, or nothing if none is left.
    pub(super) fn next(&self, random: &mut Random, is_free: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
        let size = self.size();
        let band = lower_band(size, 16, 256);
        let acceptable = |index: &u128| {
            let address = self.address_at(*index);
            !self.taken.contains(&address) && is_free(address)
        };
        let upper = random.rotation(band.max(1)..=size.checked_sub(1)?).find(acceptable);
        let index = upper.or_else(|| random.rotation(1..=band.checked_sub(1)?).find(acceptable))?;
        Some(self.address_at(index))
    }

    /// Marks an address as taken.
    pub fn take(&mut self, address: IpAddr) {
        self.taken.insert(address);
    }

    /// Marks an address as free.
    pub fn give_back(&mut self, address: IpAddr) {
        self.taken.remove(&address);
    }

    /// How many addresses can be given to Services.
    fn size(&self) -> u128 {
        let all = 1_u128.checked_shl(u32::from(self.block.max_prefix_len() - self.block.prefix_len()));
        let unusable = if matches!(self.block, IpNet::V4(_)) { 2 } else { 1 };
        all.unwrap_or(u128::MAX).saturating_sub(unusable)
    }

    /// The place of an address among those that can be given out, if it is one.
    fn index_of(&self, address: IpAddr) -> Option<u128> {
        let index = number_of(address).checked_sub(number_of(self.block.network()))?.checked_sub(1)?;
        (index < self.size()).then_some(index)
    }

    fn address_at(&self, index: u128) -> IpAddr {
        let number = number_of(self.block.network()) + 1 + index;
        match self.block {
            // The block is of IPv4, so the number fits.
            IpNet::V4(_) => Ipv4Addr::from(number as u32).into(),
            IpNet::V6(_) => Ipv6Addr::from(number).into(),
        }
    }
}

fn number_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

/// The ports Services have on every node.
///
/// As in Kubernetes one Service has a number for all protocols, and the lower part of the range is used last.
#[derive(Debug)]
pub struct NodePortAllocator {
    range: RangeInclusive<u16>,
    taken: BTreeSet<u16>,
}

impl NodePortAllocator {
    /// All ports of `range`, free.
    pub fn new(range: RangeInclusive<u16>) -> Self {
        Self { range, taken: BTreeSet::new() }
    }

    /// Whether the port can be had.
    ///
    /// # Errors
    /// When it is taken or out of range.
    pub fn check(&self, port: i64) -> Result<u16, PoolError> {
        let (first, last) = (*self.range.start(), *self.range.end());
        let in_range = u16::try_from(port).ok().filter(|port| self.range.contains(port));
        let port = in_range.ok_or(PoolError::PortOutOfRange { first, last })?;
        if self.taken.contains(&port) { Err(PoolError::PortTaken) } else { Ok(port) }
    }

    /// A free port that `is_free` accepts as well, or nothing if none is left.
    pub(super) fn next(&self, random: &mut Random, is_free: impl Fn(u16) -> bool) -> Option<u16> {
        let (first, last) = (u128::from(*self.range.start()), u128::from(*self.range.end()));
        let band = first + lower_band((last + 1).checked_sub(first)?, 32, 128);
        let acceptable = |port: &u128| {
            // The range is of 16-bit numbers, so the port is one.
            let port = *port as u16;
            !self.taken.contains(&port) && is_free(port)
        };
        let upper = random.rotation(band..=last).find(acceptable);
        upper.or_else(|| random.rotation(first..=band.checked_sub(1)?).find(acceptable)).map(|port| port as u16)
    }

    /// Marks a port as taken; one out of range is nobody's concern.
    pub fn take(&mut self, port: u16) {
        self.taken.insert(port);
    }

    /// Marks a port as free.
    pub fn give_back(&mut self, port: u16) {
        self.taken.remove(&port);
    }
}

/// How many of `size` places are kept for those who ask for a particular one: one in `step`, within bounds.
fn lower_band(size: u128, step: u128, most: u128) -> u128 {
    const LEAST: u128 = 16;
    if size <= LEAST { 0 } else { (size / step).clamp(LEAST, most) }
}

/// Numbers that are spread well and follow from a seed (SplitMix64).
#[derive(Debug, Clone)]
pub(super) struct Random {
    state: u64,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Every number of the range once, in order, beginning anywhere.
    fn rotation(&mut self, range: RangeInclusive<u128>) -> impl Iterator<Item = u128> + use<> {
        let (first, last) = range.into_inner();
        let start = match last.checked_sub(first) {
            Some(distance) => first + u128::from(self.next()) % (distance.saturating_add(1)),
            None => first,
        };
        (start..=last).chain(first..start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(block: &str) -> ClusterIpAllocator {
        ClusterIpAllocator::new(block.parse().expect(block))
    }

    #[test]
    fn dynamic_addresses_come_from_the_upper_band() {
        let pool = addresses("10.96.0.0/16");
        let lowest: IpAddr = "10.96.1.1".parse().expect("an address");
        for seed in 0..100 {
            assert!(pool.next(&mut Random::new(seed), |_| true).expect("one is left") >= lowest);
        }
    }

    #[test]
    fn the_lower_band_is_used_when_the_upper_is_full_and_the_first_address_never() {
        let mut pool = addresses("10.0.0.0/27");
        let mut given = BTreeSet::new();
        while let Some(address) = pool.next(&mut Random::new(7), |_| true) {
            pool.take(address);
            given.insert(address);
        }
        let all: BTreeSet<IpAddr> = (2..=30).map(|last| Ipv4Addr::new(10, 0, 0, last).into()).collect();
        assert_eq!(given, all);
    }

    #[test]
    fn refusals_are_those_of_kubernetes() {
        let mut pool = addresses("10.0.0.0/24");
        let check = |pool: &ClusterIpAllocator, text: &str| {
            pool.check(text.parse().expect(text), false).map_err(|error| error.to_string())
        };
        pool.take("10.0.0.7".parse().expect("an address"));
        assert_eq!(check(&pool, "10.0.0.8"), Ok(()));
        assert_eq!(check(&pool, "10.0.0.7"), Err("provided IP is already allocated".into()));
        assert_eq!(check(&pool, "10.0.0.1"), Err("provided IP is already allocated".into()));
        assert_eq!(check(&pool, "10.0.1.7"), Err("the provided network does not match the current range".into()));
        let range = "the provided IP (10.0.0.255) is not in the valid range. The range of valid IPs is 10.0.0.0/24";
        assert_eq!(check(&pool, "10.0.0.255"), Err(range.into()));
        pool.give_back("10.0.0.7".parse().expect("an address"));
        assert_eq!(check(&pool, "10.0.0.7"), Ok(()));
    }

    #[test]
    fn node_ports_come_from_the_upper_band_until_it_is_full() {
        let mut pool = NodePortAllocator::new(30000..=32767);
        let mut given = Vec::new();
        while let Some(port) = pool.next(&mut Random::new(given.len() as u64), |_| true) {
            pool.take(port);
            given.push(port);
        }
        assert_eq!(given.len(), 2768);
        assert!(given[..2682].iter().all(|&port| port >= 30086));
        assert_eq!(pool.check(30000), Err(PoolError::PortTaken));
        let error = pool.check(80).expect_err("out of range").to_string();
        assert_eq!(error, "provided port is not in the valid range. The range of valid ports is 30000-32767");
    }

    #[test]
    fn a_block_of_ipv6_is_no_larger_a_problem() {
        let pool = addresses("fd00::/108");
        let address = pool.next(&mut Random::new(1), |_| true).expect("one is left");
        assert!(pool.check(address, false).is_ok());
    }
}
