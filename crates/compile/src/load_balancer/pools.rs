//! Pools while addresses are given from them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use model::{AddressPool, AddressRange, Cluster, IpFamily, Name, PoolStatus, Rejected, RejectedReason, Subject};

use super::Claim;
use super::reserved::Reserved;

/// Names choose among so many addresses at the beginning of a pool, so that those of IPv6 stay short.
const CHOICE: u64 = 1 << 16;

/// The pools, and who has which of their addresses.
pub(super) struct Pools<'a> {
    pools: Vec<Pool<'a>>,
    /// Who has an address; several only where they share it.
    taken: BTreeMap<IpAddr, Vec<Claim<'a>>>,
    reserved: Reserved<'a>,
}

struct Pool<'a> {
    pool: &'a AddressPool,
    /// Why nothing is given from it.
    fault: Option<Fault>,
}

struct Fault {
    field: String,
    why: String,
}

impl<'a> Pools<'a> {
    /// The pools of a cluster by name. One that overlaps an older one is not used: addresses of it would be in two.
    pub fn of(cluster: &'a Cluster) -> Self {
        let mut by_age: Vec<&AddressPool> = cluster.pools.values().map(AsRef::as_ref).collect();
        by_age.sort_by_key(|pool| (pool.created, &pool.name));
        let mut pools: Vec<Pool<'a>> = Vec::new();
        for pool in by_age {
            let fault = without_addresses(pool).or_else(|| overlap(pool, &pools));
            pools.push(Pool { pool, fault });
        }
        pools.sort_by_key(|pool| &pool.pool.name);
        Self { pools, taken: BTreeMap::new(), reserved: Reserved::of(cluster) }
    }

    /// Lets a Service keep what it has, with an address of a family it had none of if there is one now; what it cannot keep is
    /// told and replaced, as far as it can be. When there is nothing to keep it gets something anew: the reason is one to be
    /// told, unless it had nothing or asks for something else now.
    pub fn keep(&mut self, claim: &Claim<'a>) -> Result<(Vec<IpAddr>, Option<Rejected>), Option<Rejected>> {
        let objection = |address: &IpAddr| self.objection(claim, *address).map(|why| (*address, why));
        // Whoever took a family from the Service knows that its address goes.
        let mut wanted = claim.held.iter().filter(|address| claim.families().contains(&IpFamily::of(**address)));
        let lost = wanted.find_map(objection).map(|(address, why)| {
            let why = format!("{address} cannot be kept: {why}");
            claim.reject(RejectedReason::IPConflict, why)
        });
        let fit: Vec<IpAddr> =
            claim.held.iter().copied().filter(|address| self.objection(claim, *address).is_none()).collect();
        if fit.is_empty() {
            return Err(lost);
        }
        let wish = claim.request.wish.as_ref().filter(|wish| !wish.addresses.is_empty());
        if !fit.iter().all(|address| wish.is_none_or(|wish| wish.addresses.contains(address))) {
            return Err(None);
        }
        let held = |family: IpFamily| fit.iter().copied().find(|held| IpFamily::of(*held) == family);
        let families = claim.families().iter().copied();
        let kept: Vec<IpAddr> =
            families.filter_map(|family| held(family).or_else(|| self.addition(claim, family))).collect();
        self.take(claim, &kept);
        Ok((kept, lost))
    }

    /// An address of a family that a Service has none of yet.
    fn addition(&self, claim: &Claim<'a>, family: IpFamily) -> Option<IpAddr> {
        match &claim.request.wish {
            None => self.open_to(claim).find_map(|pool| self.first_free(claim, pool, family)),
            Some(wish) => wish
                .addresses
                .iter()
                .copied()
                .find(|asked| IpFamily::of(*asked) == family && self.objection(claim, *asked).is_none()),
        }
    }

    /// Gives a Service addresses: those it asks for, or the first that are free, of one pool if possible.
    pub fn give(&mut self, claim: &Claim<'a>) -> Result<Vec<IpAddr>, Rejected> {
        let given = match &claim.request.wish {
            None => self.choose(claim)?,
            Some(wish) => self.grant(claim, &wish.addresses)?,
        };
        self.take(claim, &given);
        Ok(given)
    }

    /// Lets a Service that cannot have what it asks for now serve on at what it has, as far as that is still to be had.
    pub fn retain(&mut self, claim: &Claim<'a>) -> Vec<IpAddr> {
        let retained: Vec<IpAddr> =
            claim.held.iter().copied().filter(|address| self.unfitness(claim, *address).is_none()).collect();
        self.take(claim, &retained);
        retained
    }

    /// What of pools is not used, told on them.
    pub fn rejected(&self) -> impl Iterator<Item = Rejected> {
        self.pools.iter().flat_map(|pool| {
            let rejected = |field: String, why: String| {
                let (object, reason) = (Subject::pool(&pool.pool.name), RejectedReason::Refused);
                Rejected { object, field, why, reason }
            };
            match &pool.fault {
                Some(Fault { field, why }) => vec![rejected(field.clone(), why.clone())],
                None => self.in_use(pool.pool).map(|(field, why)| rejected(field, why)).collect(),
            }
        })
    }

    /// What of a pool is not given since the cluster uses it itself: whole ranges, and the first of single addresses.
    fn in_use(&self, pool: &AddressPool) -> impl Iterator<Item = (String, String)> {
        pool.ranges.iter().enumerate().flat_map(|(index, range)| {
            let of_ranges = self.reserved.ranges_in(range).map(move |(reserved, shared)| {
                format!("{range} overlaps {reserved}; {shared} is not given, take it out of this pool")
            });
            let single = self.reserved.first_single_in(range).and_then(|address| {
                let holder = self.reserved.holder(address)?;
                Some(format!("{range} has addresses that are not given, as the cluster uses them; {address}: {holder}"))
            });
            of_ranges.chain(single).map(move |why| (format!("spec.addresses[{index}]"), why))
        })
    }

    /// What the statuses should say.
    pub fn statuses(&self) -> BTreeMap<Name, PoolStatus> {
        self.pools.iter().map(|pool| (pool.pool.name.clone(), self.status(pool))).collect()
    }

    fn status(&self, pool: &Pool<'a>) -> PoolStatus {
        let generation = pool.pool.generation;
        if let Some(fault) = &pool.fault {
            let fault = Some(format!("{}: {}", fault.field, fault.why));
            return PoolStatus { total: 0, used: 0, fault, generation };
        }
        let counts = joined(&pool.pool.ranges).into_iter().map(|range| self.givable(pool.pool, &range));
        let used = self.taken.keys().filter(|address| pool.pool.contains(**address)).count();
        PoolStatus {
            total: i64::try_from(counts.fold(0, u64::saturating_add)).unwrap_or(i64::MAX),
            used: i64::try_from(used).unwrap_or(i64::MAX),
            fault: None,
            generation,
        }
    }

    /// How many addresses of a range can be given at all.
    fn givable(&self, pool: &AddressPool, range: &AddressRange) -> u64 {
        let in_ranges = self.reserved.ranges_in(range).map(|(_, part)| part.len() - left_out(pool, &part));
        let single = self.reserved.single_in(range).filter(|address| !pool.leaves_out(*address)).count();
        let reserved = in_ranges.fold(0, u64::saturating_add).saturating_add(single as u64);
        (range.len() - left_out(pool, range)).saturating_sub(reserved)
    }

    fn take(&mut self, claim: &Claim<'a>, addresses: &[IpAddr]) {
        for address in addresses {
            let holder = Claim { ..*claim };
            self.taken.entry(*address).or_default().push(holder);
        }
    }

    /// The addresses the Service asks for, all or none.
    fn grant(&self, claim: &Claim<'a>, asked: &[IpAddr]) -> Result<Vec<IpAddr>, Rejected> {
        if asked.is_empty() {
            let why = "not all it asks for can be used, and nothing else is given instead; correct it";
            return Err(claim.reject(RejectedReason::Refused, why.into()));
        }
        for address in asked {
            if let Some(why) = self.objection(claim, *address) {
                return Err(claim.reject(RejectedReason::IPConflict, format!("{address} cannot be had: {why}")));
            }
        }
        let of_family = |family: &IpFamily| asked.iter().copied().find(|address| IpFamily::of(*address) == *family);
        Ok(claim.families().iter().filter_map(of_family).collect())
    }

    fn choose(&self, claim: &Claim<'a>) -> Result<Vec<IpAddr>, Rejected> {
        let open: Vec<&Pool<'a>> = self.open_to(claim).collect();
        if open.is_empty() {
            return Err(claim.reject(RejectedReason::IPPoolExhausted, self.why_none_is_open(claim)));
        }
        let whole = open.iter().find_map(|pool| {
            let of_family = |family: &IpFamily| self.first_free(claim, pool, *family);
            claim.families().iter().map(of_family).collect::<Option<Vec<IpAddr>>>()
        });
        if let Some(whole) = whole {
            return Ok(whole);
        }
        let of_family = |family: &IpFamily| open.iter().find_map(|pool| self.first_free(claim, pool, *family));
        let found: Vec<IpAddr> = claim.families().iter().filter_map(of_family).collect();
        if found.is_empty() || (claim.request.needs_both && found.len() < claim.families().len()) {
            return Err(claim.reject(RejectedReason::IPPoolExhausted, self.why_exhausted(claim, &open)));
        }
        Ok(found)
    }

    /// The pools that a Service which asks for no address can have one of.
    fn open_to(&self, claim: &Claim<'a>) -> impl Iterator<Item = &Pool<'a>> {
        self.pools.iter().filter(|pool| {
            let asked_for = claim.request.pool.as_ref().map_or(pool.pool.auto_assign, |name| *name == pool.pool.name);
            asked_for && pool.fault.is_none() && is_for(pool.pool, claim)
        })
    }

    /// The first free address of a pool from the one on that the Service's name chooses; one that its sharing key has
    /// already goes before.
    fn first_free(&self, claim: &Claim<'a>, pool: &Pool<'a>, family: IpFamily) -> Option<IpAddr> {
        let may_have = |address: &IpAddr| IpFamily::of(*address) == family && pool.pool.contains(*address);
        let shared = claim.request.sharing_key.as_ref().and_then(|_| {
            let holders = self.taken.iter().filter(|(address, _)| may_have(address));
            holders.into_iter().find(|(_, holders)| holders.iter().all(|other| claim.clash(other).is_none()))
        });
        if let Some((address, _)) = shared {
            return Some(*address);
        }
        let ranges: Vec<&AddressRange> = pool.pool.ranges.iter().filter(|range| range.family() == family).collect();
        let (chosen, offset) = place(&ranges, claim.preference())?;
        // On from there, and from the beginning when that is at an end.
        let behind = ranges[chosen + 1..].iter().chain(&ranges[..=chosen]).map(|range| (*range, 0));
        let mut starts = [(ranges[chosen], offset)].into_iter().chain(behind);
        starts.find_map(|(range, offset)| {
            let after = |address: &IpAddr| range.after(self.reserved.end(*address));
            let mut candidates = std::iter::successors(range.nth(offset), after);
            candidates.find(|address| {
                let is_free = !self.taken.contains_key(address) && !pool.pool.leaves_out(*address);
                is_free && self.reserved.holder(*address).is_none()
            })
        })
    }

    /// Why a Service cannot have an address, or does not want it; none if it can.
    fn objection(&self, claim: &Claim<'a>, address: IpAddr) -> Option<String> {
        self.unfitness(claim, address).or_else(|| {
            let asked = claim.request.pool.as_ref()?;
            let name = &self.pool_of(address)?.name;
            let is_of_another = name != asked;
            is_of_another.then(|| format!("it is of LoadBalancerPool {name} and the Service asks for {asked}"))
        })
    }

    /// The pool in use that has an address.
    fn pool_of(&self, address: IpAddr) -> Option<&'a AddressPool> {
        let has_it = |pool: &&Pool<'a>| pool.fault.is_none() && pool.pool.contains(address);
        self.pools.iter().find(has_it).map(|pool| pool.pool)
    }

    /// Why a Service cannot have an address, whatever it asks for.
    fn unfitness(&self, claim: &Claim<'a>, address: IpAddr) -> Option<String> {
        if !claim.families().contains(&IpFamily::of(address)) {
            return Some("the Service is not of this family; see spec.ipFamilies".into());
        }
        let Some(pool) = self.pool_of(address) else {
            return Some("no LoadBalancerPool has it; add it to one, or ask for another".into());
        };
        if !is_for(pool, claim) {
            return Some(format!("LoadBalancerPool {} is not for this Service; see its selectors", pool.name));
        }
        if let Some(holder) = self.reserved.holder(address) {
            return Some(format!("{holder}; ask for another"));
        }
        let holders = self.taken.get(&address).into_iter().flatten();
        let (holder, why) = holders.into_iter().find_map(|other| Some((other, claim.clash(other)?)))?;
        Some(format!("Service {} has it and {why}; ask for another", holder.service.name))
    }

    fn why_none_is_open(&self, claim: &Claim<'a>) -> String {
        match &claim.request.pool {
            Some(asked) if !self.pools.iter().any(|pool| pool.pool.name == *asked) => {
                format!("there is no LoadBalancerPool {asked}; make it, or ask for one there is")
            }
            Some(asked) => {
                format!("LoadBalancerPool {asked} is not for this Service; see its selectors and conditions")
            }
            None if self.pools.is_empty() => {
                "there is no LoadBalancerPool; make one with addresses of your network".into()
            }
            None => {
                "no LoadBalancerPool is open to this Service; see their autoAssign, selectors and conditions".into()
            }
        }
    }

    fn why_exhausted(&self, claim: &Claim<'a>, open: &[&Pool<'a>]) -> String {
        let families: Vec<&str> = claim.families().iter().map(|family| family_name(*family)).collect();
        let counts: Vec<String> = open
            .iter()
            .map(|pool| (pool, self.status(pool)))
            .map(|(pool, status)| format!("{} ({} of {} used)", pool.pool.name, status.used, status.total))
            .collect();
        let (families, counts) = (families.join(" and "), counts.join(", "));
        format!(
            "no free {families} address in LoadBalancerPool {counts}; add addresses, or delete a Service that has one"
        )
    }
}

/// The range, by its index, and the place in it that a number chooses among all addresses; none when there are none.
fn place(ranges: &[&AddressRange], number: u64) -> Option<(usize, u64)> {
    let total = ranges.iter().map(|range| range.len()).fold(0, u64::saturating_add);
    let mut offset = number.checked_rem(total.min(CHOICE))?;
    for (index, range) in ranges.iter().enumerate() {
        match offset.checked_sub(range.len()) {
            Some(rest) => offset = rest,
            None => return Some((index, offset)),
        }
    }
    None
}

fn is_for(pool: &AddressPool, claim: &Claim<'_>) -> bool {
    let empty = BTreeMap::new();
    pool.services.matches(&claim.request.labels) && pool.namespaces.matches(claim.namespace.unwrap_or(&empty))
}

fn without_addresses(pool: &AddressPool) -> Option<Fault> {
    let why = || "nothing in it can be used; each must be like 10.0.0.0/24, 10.0.0.1-10.0.0.9 or 10.0.0.1".to_owned();
    pool.ranges.is_empty().then(|| Fault { field: "spec.addresses".to_owned(), why: why() })
}

/// The same addresses in ranges that have none in common.
fn joined(ranges: &[AddressRange]) -> Vec<AddressRange> {
    let mut sorted = ranges.to_vec();
    sorted.sort_by_key(AddressRange::first);
    let mut joined: Vec<AddressRange> = Vec::new();
    for range in sorted {
        match joined.last_mut().and_then(|last| Some((last.joined_with(&range)?, last))) {
            Some((both, last)) => *last = both,
            None => joined.push(range),
        }
    }
    joined
}

fn overlap(pool: &AddressPool, older: &[Pool<'_>]) -> Option<Fault> {
    let usable = || older.iter().filter(|other| other.fault.is_none());
    pool.ranges.iter().enumerate().find_map(|(index, range)| {
        let (other, theirs) = usable()
            .find_map(|other| Some((other, other.pool.ranges.iter().find(|theirs| theirs.overlaps(range))?)))?;
        let why =
            format!("{range} overlaps {theirs} of LoadBalancerPool {}; nothing is given from here", other.pool.name);
        Some(Fault { field: format!("spec.addresses[{index}]"), why })
    })
}

/// How many addresses of a range a pool leaves out, without walking through it.
fn left_out(pool: &AddressPool, range: &AddressRange) -> u64 {
    let (IpAddr::V4(first), true) = (range.first(), pool.avoids_buggy) else { return 0 };
    let (first, count) = (u64::from(first.to_bits()), range.len());
    let up_to = |end: u64, last_octet: u64| (end + 256 - last_octet) / 256;
    let ending_in = |octet: u64| up_to(first + count, octet + 1) - up_to(first, octet + 1);
    ending_in(0) + ending_in(255)
}

fn family_name(family: IpFamily) -> &'static str {
    match family {
        IpFamily::V4 => "IPv4",
        IpFamily::V6 => "IPv6",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::{PoolStatus, Selector};

    use super::*;

    #[test]
    fn buggy_addresses_are_counted_as_they_are_left_out() {
        for (first, last) in [("10.0.0.0", "10.0.0.255"), ("10.0.0.1", "10.0.2.0"), ("10.0.0.5", "10.0.0.6")] {
            let range = AddressRange::new(first.parse().unwrap(), last.parse().unwrap()).unwrap();
            let pool = AddressPool {
                name: "a".into(),
                ranges: vec![range],
                auto_assign: true,
                avoids_buggy: true,
                services: Selector::default(),
                namespaces: Selector::default(),
                created: Duration::ZERO,
                generation: 1,
                status: PoolStatus::default(),
            };
            let all = std::iter::successors(Some(range.first()), |address| range.after(*address));
            let counted = all.filter(|address| pool.leaves_out(*address)).count() as u64;
            assert_eq!(left_out(&pool, &range), counted, "{range}");
        }
    }
}
