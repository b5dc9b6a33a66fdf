//! Load balancer addresses: which Service has which, and which node answers for them.
//!
//! The status of each Service is the record of what it was given; there is no other. Whoever decides begins with it, so
//! that a restart changes nothing, and of two Services that have the same address the older one keeps it. Where there is
//! no record a Service's name chooses: one that is deleted and made again gets the address it had, if that is free.

mod announce;
mod candidates;
mod pools;
mod reserved;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use model::{
    Cluster, IpFamily, LoadBalancerRequest, Name, NamespacedName, PoolStatus, Rejected, RejectedReason, Service,
    ServiceKind, Subject, TrafficPolicy, fnv1a,
};

pub use announce::{Announcement, Answerer, announcements, answerable};
pub use candidates::takes_part;
use pools::Pools;

/// What is to be written, and what is to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// The addresses of every Service that Fairway is the load balancer of, in the order of its families; none for
    /// those that get none.
    pub addresses: BTreeMap<NamespacedName, Vec<IpAddr>>,
    /// Services that Fairway gave addresses, which they have not any more as they ask for none, or ask another.
    pub released: BTreeSet<NamespacedName>,
    /// What the status of each pool should say.
    pub pools: BTreeMap<Name, PoolStatus>,
    /// Why Services have no address, or not the one they asked for, and why pools are not used.
    pub rejected: Vec<Rejected>,
}

/// Gives every Service of type LoadBalancer its addresses. `is_default` says whether those that name no load balancer
/// are Fairway's; where there are no pools they are left to others, and only what was given before is taken back.
///
/// A Service that asks for what it cannot have keeps what it has. Costs time in proportion to the Services of type
/// LoadBalancer and the pools, and for each that gets something anew to the addresses that are taken.
pub fn assign(cluster: &Cluster, is_default: bool) -> Assignment {
    let mut pools = Pools::of(cluster);
    let mut claims: Vec<Claim<'_>> =
        cluster.services.values().filter_map(|service| Claim::of(cluster, service, is_default)).collect();
    // Those that have something go first, so that nobody new takes it from them; among equals the older one.
    claims.sort_by_key(|claim| (claim.held.is_empty(), claim.request.created, &claim.service.name));
    let mut assignment = Assignment { released: released(cluster, is_default), ..Assignment::default() };
    let mut wanting = Vec::new();
    for claim in &claims {
        match pools.keep(claim) {
            Ok((addresses, lost)) => {
                assignment.rejected.extend(lost);
                assignment.addresses.insert(claim.service.name.clone(), addresses);
            }
            Err(reason) => {
                assignment.rejected.extend(reason);
                wanting.push(claim);
            }
        }
    }
    for claim in wanting {
        let addresses = pools.give(claim).unwrap_or_else(|reason| {
            assignment.rejected.push(reason);
            pools.retain(claim)
        });
        assignment.addresses.insert(claim.service.name.clone(), addresses);
    }
    assignment.rejected.extend(pools.rejected());
    assignment.pools = pools.statuses();
    assignment
}

/// The Services whose status says that Fairway gave them addresses although it is not their load balancer any more.
fn released(cluster: &Cluster, is_default: bool) -> BTreeSet<NamespacedName> {
    let is_released = |service: &&Service| match &service.load_balancer {
        None => service.was_given,
        Some(request) => request.is_given && !request.is_for_us(is_default),
    };
    cluster.services.values().map(AsRef::as_ref).filter(is_released).map(|service| service.name.clone()).collect()
}

/// A Service that Fairway is the load balancer of.
struct Claim<'a> {
    service: &'a Service,
    request: &'a LoadBalancerRequest,
    /// What its status says it has.
    held: &'a [IpAddr],
    namespace: Option<&'a BTreeMap<Name, Name>>,
}

impl<'a> Claim<'a> {
    fn of(cluster: &'a Cluster, service: &'a Service, is_default: bool) -> Option<Self> {
        let request = service.load_balancer.as_deref()?;
        if !request.is_for_us(is_default && (request.is_given || !cluster.pools.is_empty())) {
            return None;
        }
        let ServiceKind::Virtual { load_balancer_ips, .. } = &service.kind else { return None };
        let namespace = cluster.namespaces.get(&service.name.namespace).map(AsRef::as_ref);
        Some(Self { service, request, held: load_balancer_ips, namespace })
    }

    /// The families it can get addresses of at all.
    fn families(&self) -> &'a [IpFamily] {
        &self.request.families
    }

    /// The number by which its addresses are chosen: that of its name, or of its sharing key, so that it is given the same
    /// again when its status is lost or it is made anew.
    fn preference(&self) -> u64 {
        match &self.request.sharing_key {
            Some(key) => choice(key.as_str().as_bytes()),
            None => choice(self.service.name.to_string().as_bytes()),
        }
    }

    /// Why two Services cannot have the same address; none if they can.
    fn clash(&self, other: &Self) -> Option<&'static str> {
        let key = |claim: &Self| claim.request.sharing_key.clone();
        if key(self).is_none() || key(self) != key(other) {
            return Some("they have no fairway.network/sharing-key in common");
        }
        let is_local = |claim: &Self| claim.service.external_policy == TrafficPolicy::Local;
        if is_local(self) || is_local(other) {
            return Some("an address with externalTrafficPolicy Local cannot be shared");
        }
        let ports =
            |claim: &Self| -> Vec<_> { claim.service.ports.iter().map(|port| (port.protocol, port.port)).collect() };
        let theirs = ports(other);
        ports(self).iter().any(|port| theirs.contains(port)).then_some("they have a port in common")
    }

    fn reject(&self, reason: RejectedReason, why: String) -> Rejected {
        let field = match (&self.request.wish, &self.request.pool) {
            (Some(wish), _) => wish.field.clone(),
            (None, Some(_)) => format!("metadata.annotations[{}]", model::from_kube::POOL_ANNOTATION),
            (None, None) => "spec.type".to_owned(),
        };
        Rejected { object: Subject::service(&self.service.name), field, why, reason }
    }
}

/// The number by which something is chosen for these bytes, the same on every node and in every version. What follows
/// from FNV-1a alone is too much alike for bytes that differ in few bits, so these are mixed.
fn choice<'a>(bytes: impl IntoIterator<Item = &'a u8>) -> u64 {
    let hash = fnv1a(bytes);
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

#[cfg(test)]
mod tests;
