//! Cluster addresses and node ports for Services.
//!
//! Deciding and doing are apart: [`ServiceAllocator::plan`] fills in a Service and says what that takes, and only
//! [`ServiceAllocator::apply`] takes it, once the write is stored. A dry run plans and never applies.

mod families;
mod inherit;
mod node_ports;
mod pools;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use serde_json::{Value, json};

pub use pools::{ClusterIpAllocator, NodePortAllocator, PoolError};

use super::fill::{Fill, Object};
use super::service::{HEADLESS, needs_cluster_addresses, needs_health_check, node_ports as node_ports_of};
use crate::error::FieldError;
use pools::Random;

/// Hands out cluster addresses and node ports, from what the stored Services leave free.
#[derive(Debug)]
pub struct ServiceAllocator {
    /// One per address family, the cluster's preferred family first.
    addresses: Vec<ClusterIpAllocator>,
    node_ports: NodePortAllocator,
}

/// What a write of a Service takes and gives back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use = "nothing is taken until the allocation is applied"]
pub struct Allocation {
    taken: BTreeSet<Claim>,
    released: BTreeSet<Claim>,
}

/// One thing only one Service may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    Address(IpAddr),
    NodePort(u16),
}

/// Why a Service gets no address or port.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AllocationError {
    /// It asks for something it cannot have: answer as for any invalid object.
    #[error("the service asks for an address or port it cannot have")]
    Invalid(Vec<FieldError>),
    /// Nothing is left: the server's failure, not the client's.
    #[error("failed to allocate a serviceIP for Service {service:?}: range is full")]
    NoAddressLeft {
        /// The Service's name.
        service: String,
    },
    /// Nothing is left: the server's failure, not the client's.
    #[error("failed to allocate a nodePort: range is full")]
    NoNodePortLeft,
}

impl ServiceAllocator {
    /// An allocator with everything free. `blocks` holds one block per address family, the preferred one first.
    pub fn new(blocks: &[IpNet], node_ports: RangeInclusive<u16>) -> Self {
        let addresses = blocks.iter().copied().map(ClusterIpAllocator::new).collect();
        Self { addresses, node_ports: NodePortAllocator::new(node_ports) }
    }

    /// Marks as taken what a stored Service has.
    pub fn restore(&mut self, service: &Value) {
        for claim in claims_of(service) {
            self.take(claim);
        }
    }

    /// Frees what a Service has that is being deleted.
    pub fn release(&mut self, service: &Value) {
        for claim in claims_of(service) {
            self.give_back(claim);
        }
    }

    /// Fills in the families, addresses and ports a Service leaves open and keeps from `old`, the stored one, what the
    /// client left out. Comes after defaulting and before validation. `seed` decides between equals.
    ///
    /// # Errors
    /// When the Service asks for what it cannot have, or nothing is left. `service` may then be half filled in.
    pub fn plan(&self, service: &mut Value, old: Option<&Value>, seed: u64) -> Result<Allocation, AllocationError> {
        let before = old.map(claims_of).unwrap_or_default();
        if let Some(object) = service.as_object_mut() {
            let name = object.object("metadata").text("name").to_owned();
            let old_spec = old.and_then(|old| old["spec"].as_object());
            let mut planning = Planning { pools: self, taken: BTreeSet::new(), random: Random::new(seed) };
            planning.fill_in(object.object("spec"), old_spec, &name)?;
        }
        let after = claims_of(service);
        Ok(Allocation {
            taken: after.difference(&before).copied().collect(),
            released: before.difference(&after).copied().collect(),
        })
    }

    /// Carries out what was planned. To be called once the write is stored, with no other plan made in between.
    pub fn apply(&mut self, allocation: &Allocation) {
        for &claim in &allocation.released {
            self.give_back(claim);
        }
        for &claim in &allocation.taken {
            self.take(claim);
        }
    }

    /// Takes back what was [applied](Self::apply), when the write has not been stored after all.
    pub fn undo(&mut self, allocation: &Allocation) {
        for &claim in &allocation.taken {
            self.give_back(claim);
        }
        for &claim in &allocation.released {
            self.take(claim);
        }
    }

    fn take(&mut self, claim: Claim) {
        match claim {
            Claim::Address(address) => {
                if let Some(pool) = self.addresses.iter_mut().find(|pool| pool.contains(address)) {
                    pool.take(address);
                }
            }
            Claim::NodePort(port) => self.node_ports.take(port),
        }
    }

    fn give_back(&mut self, claim: Claim) {
        match claim {
            Claim::Address(address) => self.addresses.iter_mut().for_each(|pool| pool.give_back(address)),
            Claim::NodePort(port) => self.node_ports.give_back(port),
        }
    }

    fn pool_of(&self, family: &str) -> Option<&ClusterIpAllocator> {
        self.addresses.iter().find(|pool| pool.family() == family)
    }

    /// The families the cluster has addresses of, the preferred one first.
    fn families(&self) -> Vec<&'static str> {
        self.addresses.iter().map(ClusterIpAllocator::family).collect()
    }
}

/// A plan in the making: what it has taken so far is free for nobody else.
struct Planning<'a> {
    pools: &'a ServiceAllocator,
    taken: BTreeSet<Claim>,
    random: Random,
}

impl Planning<'_> {
    fn fill_in(&mut self, spec: &mut Object, old: Option<&Object>, name: &str) -> Result<(), AllocationError> {
        if let Some(old) = old {
            inherit::allocated_values(spec, old);
        }
        inherit::agree_on_addresses(spec, old);
        if needs_cluster_addresses(spec) {
            families::decide(spec, old, &self.pools.families()).map_err(AllocationError::Invalid)?;
            self.choose_addresses(spec, old, name)?;
        }
        self.choose_node_ports(spec, old)
    }

    /// Takes an address of every family that has none yet. A headless Service wants none.
    fn choose_addresses(&mut self, spec: &mut Object, old: Option<&Object>, name: &str) -> Result<(), AllocationError> {
        let asked = texts(spec, "clusterIPs");
        if asked.first().is_some_and(|first| first == HEADLESS) {
            return Ok(());
        }
        let kept = old.filter(|old| needs_cluster_addresses(old)).map_or(0, |old| texts(old, "clusterIPs").len());
        let mut addresses = asked.clone();
        for (index, family) in texts(spec, "ipFamilies").iter().enumerate().skip(kept) {
            let chosen = match asked.get(index).filter(|address| !address.is_empty()) {
                Some(address) => self.claim_address(address, family, &asked, name)?,
                None => self.next_address(family, name)?.to_string(),
            };
            addresses.truncate(index);
            addresses.push(chosen);
        }
        if let Some(first) = addresses.first() {
            spec.insert("clusterIP".into(), json!(first));
            spec.insert("clusterIPs".into(), json!(addresses));
        }
        Ok(())
    }

    fn claim_address(
        &mut self,
        text: &str,
        family: &str,
        asked: &[String],
        service: &str,
    ) -> Result<String, AllocationError> {
        let owner_of_first = service == "kubernetes";
        let refused = match (text.parse(), self.pools.pool_of(family)) {
            (Ok(address), Some(pool)) => match pool.check(address, owner_of_first) {
                Ok(()) => {
                    self.taken.insert(Claim::Address(address));
                    return Ok(text.to_owned());
                }
                Err(refused) => refused,
            },
            _ => PoolError::OtherNetwork,
        };
        let detail = format!("failed to allocate IP {text}: {refused}");
        Err(AllocationError::Invalid(vec![FieldError::invalid("spec.clusterIPs", json!(asked), detail)]))
    }

    fn next_address(&mut self, family: &str, service: &str) -> Result<IpAddr, AllocationError> {
        let taken = &self.taken;
        let is_free = |address| !taken.contains(&Claim::Address(address));
        let found = self.pools.pool_of(family).and_then(|pool| pool.next(&mut self.random, is_free));
        let address = found.ok_or_else(|| AllocationError::NoAddressLeft { service: service.to_owned() })?;
        self.taken.insert(Claim::Address(address));
        Ok(address)
    }
}

/// Everything a Service has that no other may have.
fn claims_of(service: &Value) -> BTreeSet<Claim> {
    let Some(spec) = service["spec"].as_object() else { return BTreeSet::new() };
    let mut claims = BTreeSet::new();
    if needs_cluster_addresses(spec) {
        let addresses = texts(spec, "clusterIPs");
        claims.extend(addresses.iter().filter_map(|address| address.parse().ok()).map(Claim::Address));
    }
    let health_check = spec.get("healthCheckNodePort").and_then(Value::as_i64).filter(|_| needs_health_check(spec));
    let ports = node_ports_of(spec).into_iter().chain(health_check);
    claims.extend(ports.filter_map(|port| port.try_into().ok()).map(Claim::NodePort));
    claims
}

/// The texts in the list called `name`.
fn texts(spec: &Object, name: &str) -> Vec<String> {
    let items = spec.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
