//! From addresses back to names.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::text;
use crate::wire::{DomainName, QueryName};

/// How many tables share the addresses: a change copies one of them, not all.
pub(super) const SHARDS: usize = 256;

/// The names of one address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReverseNames {
    /// Services that have it as a cluster address; at most one in a sane cluster.
    services: Vec<DomainName>,
    /// Endpoints that have it, sorted.
    endpoints: Vec<DomainName>,
}

impl ReverseNames {
    /// The names to answer with: a cluster address is the Service's and nobody else's.
    pub fn names(&self) -> &[DomainName] {
        if self.services.is_empty() { &self.endpoints } else { &self.services }
    }

    fn is_empty(&self) -> bool {
        self.services.is_empty() && self.endpoints.is_empty()
    }
}

/// What a name is to the address it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Service,
    Endpoint,
}

/// All addresses with names, in tables that are shared between zones until one of them changes.
#[derive(Clone, Debug)]
pub(super) struct ReverseIndex(Vec<Arc<HashMap<IpAddr, ReverseNames>>>);

impl Default for ReverseIndex {
    fn default() -> Self {
        Self(vec![Arc::default(); SHARDS])
    }
}

impl ReverseIndex {
    pub(super) fn get(&self, address: IpAddr) -> Option<&ReverseNames> {
        self.0[shard(address)].get(&address)
    }

    pub(super) fn insert(&mut self, address: IpAddr, role: Role, name: DomainName) {
        let names = Arc::make_mut(&mut self.0[shard(address)]).entry(address).or_default();
        let list = names.list(role);
        if let Err(place) = list.binary_search(&name) {
            list.insert(place, name);
        }
    }

    pub(super) fn remove(&mut self, address: IpAddr, role: Role, name: &DomainName) {
        let table = Arc::make_mut(&mut self.0[shard(address)]);
        let Some(names) = table.get_mut(&address) else {
            return;
        };
        let list = names.list(role);
        if let Ok(place) = list.binary_search(name) {
            list.remove(place);
        }
        if names.is_empty() {
            table.remove(&address);
        }
    }
}

impl ReverseNames {
    fn list(&mut self, role: Role) -> &mut Vec<DomainName> {
        match role {
            Role::Service => &mut self.services,
            Role::Endpoint => &mut self.endpoints,
        }
    }
}

/// Neighbouring addresses are spread over the tables by their last octet.
pub(super) fn shard(address: IpAddr) -> usize {
    usize::from(match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    })
}

/// The labels under which addresses of a family are looked for, in wire form; two of them.
const IN_ADDR_ARPA: &[u8] = b"\x07in-addr\x04arpa\0";
const IP6_ARPA: &[u8] = b"\x03ip6\x04arpa\0";

/// The address that is written as `name` to find its names.
pub(crate) fn reverse_address(name: &QueryName) -> Option<IpAddr> {
    let under = name.label_count().checked_sub(2)?;
    match &name.as_wire()[name.suffix_offset(2)..] {
        IN_ADDR_ARPA => parse_reverse_v4(name, under).map(IpAddr::V4),
        IP6_ARPA => parse_reverse_v6(name, under).map(IpAddr::V6),
        _ => None,
    }
}

/// Reads `5.1.244.10` in front of `in-addr.arpa`.
fn parse_reverse_v4(name: &QueryName, under: usize) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    if under != octets.len() {
        return None;
    }
    for (index, octet) in octets.iter_mut().rev().enumerate() {
        let label = text(name.label(index));
        let is_plain = label.bytes().all(|byte| byte.is_ascii_digit()) && (label.len() == 1 || !label.starts_with('0'));
        *octet = label.parse().ok().filter(|_| is_plain)?;
    }
    Some(octets.into())
}

/// Reads 32 hexadecimal digits in front of `ip6.arpa`.
fn parse_reverse_v6(name: &QueryName, under: usize) -> Option<Ipv6Addr> {
    if under != 32 {
        return None;
    }
    let mut address = 0_u128;
    for index in 0..32 {
        let &[digit] = name.label(index) else { return None };
        address |= u128::from((digit as char).to_digit(16)?) << (4 * index);
    }
    Some(address.into())
}
