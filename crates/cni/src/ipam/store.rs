//! Who has which address, in files.
//!
//! One file per address, named after it, holding its owner. Choosing takes the lock of the state; writing does not wait
//! for the disk, since a reservation means nothing after the boot it was made in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;

use super::choice::{is_usable, next_free, size};
use super::{IpamError, RangeUse};
use crate::config::Pools;
use crate::owner::Owner;
use crate::state::{StateDirectory, StateError, StateLock};

/// Beside those that nobody gets yet, this many released addresses are remembered, so that they come last in turn; as
/// many as a /24 has.
const RESTED_MAX: usize = 256;

/// The reservations of one node.
#[derive(Debug)]
pub(crate) struct Store<'a> {
    state: &'a StateDirectory,
    /// Addresses others have given out.
    occupied: BTreeSet<IpAddr>,
}

/// Whether an address has to rest before somebody else gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// As somebody may still talk to who had it.
    Due,
    /// As nobody can have met who had it.
    Needless,
}

impl<'a> Store<'a> {
    /// The reservations in a state directory. Touches nothing yet.
    pub(crate) const fn new(state: &'a StateDirectory) -> Self {
        Self { state, occupied: BTreeSet::new() }
    }

    /// The same, of which nobody gets an address that is `occupied`.
    pub(crate) fn avoiding(self, occupied: BTreeSet<IpAddr>) -> Self {
        Self { occupied, ..self }
    }

    /// One address of each family that has ranges, for `owner`: the wanted one, else the next. What `owner` holds
    /// already it gets again.
    pub(crate) fn reserve(&self, owner: &Owner, pools: &Pools, wanted: &[IpAddr]) -> Result<Vec<IpAddr>, IpamError> {
        if let Some(address) = wanted.iter().find(|address| !pools.contain(**address)) {
            return Err(IpamError::OutOfRange { address: *address, ranges: pools.to_string() });
        }
        if let Some(address) = wanted.iter().find(|address| !is_usable(&pools.ranges, **address)) {
            return Err(IpamError::Unusable { address: *address });
        }
        let lock = self.state.lock()?;
        let reservations = self.reservations()?;
        let is_new = !reservations.values().any(|holder| holder.as_ref() == Some(owner));
        let reserve_in = |family: &Pools| {
            let wanted = wanted.iter().copied().find(|address| family.contain(*address));
            self.reserve_in((&lock, &reservations), family, owner, wanted)
        };
        let reserved: Result<Vec<IpAddr>, IpamError> = pools.families().iter().map(reserve_in).collect();
        if reserved.is_err() {
            self.release_locked(owner, if is_new { Rest::Needless } else { Rest::Due })?;
        }
        reserved
    }

    /// Ends all reservations of `owner` and returns their addresses; none is fine.
    pub(crate) fn release(&self, owner: &Owner, rest: Rest) -> Result<Vec<IpAddr>, IpamError> {
        if !self.state.exists() {
            return Ok(Vec::new());
        }
        let _lock = self.state.lock()?;
        self.release_locked(owner, rest)
    }

    fn release_locked(&self, owner: &Owner, rest: Rest) -> Result<Vec<IpAddr>, IpamError> {
        let mut held = self.reservations()?;
        held.retain(|_, holder| holder.as_ref() == Some(owner));
        let held: Vec<IpAddr> = held.into_keys().collect();
        self.remove(&held, rest)?;
        Ok(held)
    }

    /// All reservations; one whose file cannot be understood has no owner and stays taken.
    pub(crate) fn reservations(&self) -> Result<BTreeMap<IpAddr, Option<Owner>>, IpamError> {
        let mut reservations = BTreeMap::new();
        for name in self.state.names(&self.state.addresses())? {
            let Ok(address) = name.parse() else { continue };
            // What is gone was released this moment.
            if let Some(content) = self.state.read(&self.file_of(address))? {
                reservations.insert(address, serde_json::from_slice(&content).ok());
            }
        }
        Ok(reservations)
    }

    /// What is left of each of the ranges, in their order.
    pub(crate) fn usage(&self, pools: &Pools) -> Result<Vec<RangeUse>, IpamError> {
        let reserved = self.reservations()?.into_keys();
        let taken: BTreeSet<IpAddr> = reserved.chain(self.occupied.iter().copied()).collect();
        let now = SystemTime::now();
        let released = self.read_released()?.into_iter();
        let resting = released.filter(|(at, address)| is_resting(now, *at, pools) && !taken.contains(address));
        let resting: BTreeSet<IpAddr> = resting.map(|(_, address)| address).collect();
        let usage = |range: &IpNet| {
            let of_range =
                |all: &BTreeSet<IpAddr>| all.iter().filter(|address| is_usable(&[*range], **address)).count();
            let (taken, resting) = (of_range(&taken), of_range(&resting));
            let free = size(range).saturating_sub((taken + resting) as u128);
            RangeUse { range: *range, taken, resting, free }
        };
        Ok(pools.ranges.iter().map(usage).collect())
    }

    /// Whether an address of each family could be reserved, now or when it has rested.
    pub(crate) fn probe(&self, pools: &Pools) -> Result<(), IpamError> {
        let _lock = self.state.lock()?;
        let taken: BTreeSet<IpAddr> = self.reservations()?.into_keys().collect();
        let pools = Pools { reuse_delay: Duration::ZERO, ..pools.clone() };
        pools.families().iter().try_for_each(|family| self.choose(family, &taken).map(drop))
    }

    /// Ends reservations of which `is_known` knows no owner, and those no one can be the owner of. Returns their
    /// addresses.
    pub(crate) fn release_unknown(
        &self,
        is_known: impl Fn(&Owner) -> Result<bool, StateError>,
    ) -> Result<Vec<IpAddr>, IpamError> {
        let _lock = self.state.lock()?;
        let mut unknown = Vec::new();
        for (address, owner) in self.reservations()? {
            // Of whom nothing can be told keeps what is theirs.
            if !owner.map_or(Ok(false), |owner| is_known(&owner))? {
                unknown.push(address);
            }
        }
        self.remove(&unknown, Rest::Due)?;
        Ok(unknown)
    }

    /// Ends reservations; of addresses that have to rest it remembers when. Needs the lock.
    fn remove(&self, addresses: &[IpAddr], rest: Rest) -> Result<(), IpamError> {
        for address in addresses.iter().copied() {
            let removed = match rest {
                Rest::Due => self.move_to_released(address),
                Rest::Needless => fs::remove_file(self.file_of(address)),
            };
            removed.map_err(|source| IpamError::Release { address, source })?;
        }
        Ok(())
    }

    fn move_to_released(&self, address: IpAddr) -> io::Result<()> {
        let released = self.state.released().join(address.to_string());
        fs::rename(self.file_of(address), &released)?;
        File::options().write(true).open(&released)?.set_modified(SystemTime::now())
    }

    /// Addresses with the times of their release, the first released first.
    fn read_released(&self) -> Result<Vec<(SystemTime, IpAddr)>, IpamError> {
        let failed = |source| IpamError::State(StateError::Read { path: self.state.released(), source });
        self.released().map_err(failed)
    }

    fn released(&self) -> io::Result<Vec<(SystemTime, IpAddr)>> {
        let mut released: Vec<(SystemTime, IpAddr)> = Vec::new();
        let entries = match fs::read_dir(self.state.released()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(released),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if let Some(address) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                released.push((entry.metadata()?.modified()?, address));
            }
        }
        released.sort_unstable();
        Ok(released)
    }

    /// Reserves beside the `reservations` there are, which may lack those of other families.
    fn reserve_in(
        &self,
        (lock, reservations): (&StateLock<'_>, &BTreeMap<IpAddr, Option<Owner>>),
        pools: &Pools,
        owner: &Owner,
        wanted: Option<IpAddr>,
    ) -> Result<IpAddr, IpamError> {
        let is_held = |address: IpAddr| pools.contain(address) && wanted.is_none_or(|wanted| wanted == address);
        let held = reservations.iter().find(|(address, holder)| holder.as_ref() == Some(owner) && is_held(**address));
        if let Some((address, _)) = held {
            return Ok(*address);
        }
        let address = match wanted {
            Some(address) => match reservations.get(&address) {
                Some(holder) => return Err(IpamError::taken(address, holder.as_ref())),
                None if self.occupied.contains(&address) => return Err(IpamError::Occupied { address }),
                None => address,
            },
            None => self.choose(pools, &reservations.keys().copied().collect())?,
        };
        let content =
            serde_json::to_vec(owner).map_err(|error| IpamError::Reserve { address, source: error.into() })?;
        lock.replace(&self.file_of(address), &content)?;
        self.forget_release(address);
        Ok(address)
    }

    /// Only a hint for later calls: keeping it costs nothing but the turn.
    fn forget_release(&self, address: IpAddr) {
        let _ = fs::remove_file(self.state.released().join(address.to_string()));
    }

    fn choose(&self, pools: &Pools, taken: &BTreeSet<IpAddr>) -> Result<IpAddr, IpamError> {
        let now = SystemTime::now();
        let released = self.read_released()?.into_iter().filter(|(_, address)| pools.contain(*address));
        let (resting, mut rested): (Vec<_>, Vec<_>) = released.partition(|(at, _)| is_resting(now, *at, pools));
        for (_, address) in rested.drain(..rested.len().saturating_sub(RESTED_MAX)) {
            self.forget_release(address);
        }
        let addresses = |list: Vec<(SystemTime, IpAddr)>| list.into_iter().map(|(_, address)| address);
        let taken: BTreeSet<IpAddr> = taken.union(&self.occupied).copied().collect();
        let avoided: BTreeSet<IpAddr> = taken.iter().copied().chain(addresses(resting)).collect();
        next_free(&pools.ranges, &avoided, &addresses(rested).collect::<Vec<_>>()).ok_or_else(|| {
            let in_use = taken.iter().filter(|address| pools.contain(**address)).count();
            let resting = avoided.iter().filter(|address| pools.contain(**address)).count() - in_use;
            IpamError::Exhausted { ranges: pools.to_string(), taken: in_use, resting }
        })
    }

    fn file_of(&self, address: IpAddr) -> PathBuf {
        self.state.addresses().join(address.to_string())
    }
}

/// Whether nobody gets an address yet that was released at this time. A release in the future is one of before somebody
/// set the clock; nobody can tell how long ago it was.
fn is_resting(now: SystemTime, released: SystemTime, pools: &Pools) -> bool {
    now.duration_since(released).is_ok_and(|since| since < pools.reuse_delay)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn owner(name: &str) -> Owner {
        Owner { container: name.into(), interface: "eth0".into() }
    }

    fn nets(texts: &[&str]) -> Pools {
        let ranges = texts.iter().map(|text| text.parse().unwrap()).collect();
        Pools { ranges, reuse_delay: Duration::ZERO }
    }

    fn state() -> (tempfile::TempDir, StateDirectory) {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::in_boot(&directory.path().join("state"), "first boot".into());
        (directory, state)
    }

    #[test]
    fn each_owner_gets_an_address_per_family_and_keeps_it() {
        let (_directory, state) = state();
        let store = Store::new(&state);
        let ranges = nets(&["10.244.1.0/24", "fd00::/64"]);
        let first = store.reserve(&owner("a"), &ranges, &[]).unwrap();
        assert_eq!(first, ["10.244.1.1".parse::<IpAddr>().unwrap(), "fd00::1".parse().unwrap()]);
        assert_ne!(store.reserve(&owner("b"), &ranges, &[]).unwrap(), first);
        assert_eq!(store.reserve(&owner("a"), &ranges, &[]).unwrap(), first);
    }

    #[test]
    fn a_release_works_twice_and_without_a_directory() {
        let (_directory, state) = state();
        let store = Store::new(&state);
        assert_eq!(store.release(&owner("a"), Rest::Due).unwrap(), Vec::<IpAddr>::new());
        let held = store.reserve(&owner("a"), &nets(&["10.244.1.0/24"]), &[]).unwrap();
        assert_eq!(store.release(&owner("a"), Rest::Due).unwrap(), held);
        assert_eq!(store.release(&owner("a"), Rest::Due).unwrap(), Vec::<IpAddr>::new());
    }

    #[test]
    fn a_full_range_says_so_and_keeps_nothing_half() {
        let (_directory, state) = state();
        let store = Store::new(&state);
        let ranges = nets(&["10.244.1.0/30", "fd00::/64"]);
        store.reserve(&owner("a"), &ranges, &[]).unwrap();
        store.reserve(&owner("b"), &ranges, &[]).unwrap();
        let full = nets(&["fd00::/64", "10.244.1.0/30"]);
        let error = store.reserve(&owner("c"), &full, &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no free address in 10.244.1.0/30: 2 are in use and 0 were released just now; \
             delete pods or give the node a larger range"
        );
        assert!(!store.reservations().unwrap().values().any(|holder| *holder == Some(owner("c"))));
    }

    #[test]
    fn of_each_range_it_is_told_how_much_is_taken_rests_and_is_free() {
        let (_directory, state) = state();
        let counted = |store: &Store<'_>, pools: &Pools| -> Vec<(usize, usize, u128)> {
            store.usage(pools).unwrap().iter().map(|used| (used.taken, used.resting, used.free)).collect()
        };
        let pools = Pools { reuse_delay: Duration::from_secs(60), ..nets(&["10.244.1.0/29", "fd00::/64"]) };
        let store = Store::new(&state);
        let all_of_a_64 = (1 << 64) - 1;
        assert_eq!(counted(&store, &pools), [(0, 0, 6), (0, 0, all_of_a_64)], "nothing was ever given");
        for name in ["a", "b", "c"] {
            store.reserve(&owner(name), &pools, &[]).unwrap();
        }
        store.release(&owner("b"), Rest::Due).unwrap();
        assert_eq!(counted(&store, &pools), [(2, 1, 3), (2, 1, all_of_a_64 - 3)]);
        let rested = Pools { reuse_delay: Duration::ZERO, ..pools.clone() };
        assert_eq!(counted(&store, &rested)[0], (2, 0, 4));
        // One that is another network's is not free; the first and the last of the range nobody gets anyway.
        let of_others = ["10.244.1.6", "10.244.1.0", "10.244.1.7"].map(|address| address.parse().unwrap());
        assert_eq!(counted(&store.avoiding(of_others.into()), &pools)[0], (3, 1, 2));
    }

    #[test]
    fn a_wanted_address_is_given_to_one_owner_only() {
        let (_directory, state) = state();
        let store = Store::new(&state);
        let (pools, wanted) = (nets(&["10.244.1.0/24", "fd00::/64"]), ["10.244.1.77".parse().unwrap()]);
        let given = store.reserve(&owner("a"), &pools, &wanted).unwrap();
        assert_eq!(given, [wanted[0], "fd00::1".parse().unwrap()]);
        assert_eq!(store.reserve(&owner("a"), &pools, &wanted).unwrap(), given);
        let taken = store.reserve(&owner("b"), &pools, &wanted).unwrap_err();
        assert_eq!(taken.to_string(), "10.244.1.77 is in use by container a");
        let outside = store.reserve(&owner("b"), &pools, &["10.0.0.1".parse().unwrap()]).unwrap_err();
        assert_eq!(outside.to_string(), "10.0.0.1 is in none of the ranges 10.244.1.0/24, fd00::/64");
        assert!(!store.reservations().unwrap().values().any(|holder| *holder == Some(owner("b"))));
    }

    #[test]
    fn nobody_gets_the_address_of_a_whole_range_however_it_is_wanted() {
        let (_directory, state) = state();
        let store = Store::new(&state);
        let pools = nets(&["10.244.1.0/24", "fd00::/64"]);
        for wanted in ["10.244.1.0", "10.244.1.255", "fd00::"] {
            let refused = store.reserve(&owner("a"), &pools, &[wanted.parse().unwrap()]).unwrap_err();
            assert!(matches!(refused, IpamError::Unusable { .. }), "{wanted}: {refused}");
        }
        assert!(store.reserve(&owner("a"), &pools, &["10.244.1.254".parse().unwrap()]).is_ok());
    }

    #[test]
    fn an_address_of_another_networks_pod_is_given_to_nobody() {
        let (_directory, state) = state();
        let occupied = ["10.244.1.1", "10.244.1.3"].map(|address| address.parse().unwrap());
        let store = Store::new(&state).avoiding(occupied.into());
        let pools = nets(&["10.244.1.0/29"]);
        let given = ["a", "b"].map(|name| store.reserve(&owner(name), &pools, &[]).unwrap()[0].to_string());
        assert_eq!(given, ["10.244.1.2", "10.244.1.4"]);
        let wanted = store.reserve(&owner("c"), &pools, &occupied[..1]).unwrap_err();
        assert_eq!(
            wanted.to_string(),
            "10.244.1.1 is in use by a link of this node or by another network on it; ask for one that is free"
        );
    }

    #[test]
    fn nobody_gets_an_address_before_it_has_rested() {
        let (_directory, state) = state();
        let store = Store::new(&state);
        let pools = Pools { reuse_delay: Duration::from_secs(3600), ..nets(&["10.244.1.0/30"]) };
        store.reserve(&owner("a"), &pools, &[]).unwrap();
        store.release(&owner("a"), Rest::Due).unwrap();
        store.reserve(&owner("b"), &pools, &[]).unwrap();
        let error = store.reserve(&owner("c"), &pools, &[]).unwrap_err();
        assert!(matches!(error, IpamError::Exhausted { taken: 1, resting: 1, .. }), "{error}");
        assert!(store.reserve(&owner("c"), &nets(&["10.244.1.0/30"]), &[]).is_ok());
    }

    #[test]
    fn addresses_rest_however_many_were_released_since() {
        let (_directory, state) = state();
        let store = Store::new(&state);
        let rests = Pools { reuse_delay: Duration::from_secs(3600), ..nets(&["10.244.0.0/23"]) };
        let mut given = BTreeSet::new();
        for _ in 0..RESTED_MAX + 20 {
            let address = store.reserve(&owner("a"), &rests, &[]).unwrap()[0];
            assert!(given.insert(address), "{address} had no rest");
            store.release(&owner("a"), Rest::Due).unwrap();
        }
        store.reserve(&owner("a"), &nets(&["10.244.0.0/23"]), &[]).unwrap();
        assert_eq!(store.released().unwrap().len(), RESTED_MAX, "what rested is not remembered for ever");
    }

    #[test]
    fn reservations_of_an_earlier_boot_are_void() {
        let (directory, state) = state();
        let first = Store::new(&state);
        first.reserve(&owner("a"), &nets(&["10.244.1.0/30"]), &[]).unwrap();
        let later = StateDirectory::in_boot(&directory.path().join("state"), "second boot".into());
        let second = Store::new(&later);
        second.reserve(&owner("b"), &nets(&["10.244.1.0/30"]), &[]).unwrap();
        assert_eq!(second.reservations().unwrap().into_values().collect::<Vec<_>>(), [Some(owner("b"))]);
    }

    #[test]
    fn a_file_nobody_understands_stays_taken_until_collected() {
        let (directory, state) = state();
        let store = Store::new(&state);
        store.release_unknown(|_| Ok(true)).unwrap();
        fs::write(directory.path().join("state/addresses/10.244.1.1"), "").unwrap();
        assert_eq!(
            store.reserve(&owner("a"), &nets(&["10.244.1.0/24"]), &[]).unwrap(),
            ["10.244.1.2".parse::<IpAddr>().unwrap()]
        );
        assert_eq!(store.release_unknown(|_| Ok(true)).unwrap(), ["10.244.1.1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn nobody_loses_an_address_because_a_record_cannot_be_read() {
        let (directory, state) = state();
        let store = Store::new(&state);
        let held = store.reserve(&owner("a"), &nets(&["10.244.1.0/24"]), &[]).unwrap();
        let unreadable = |_: &Owner| state.read(directory.path()).map(|content| content.is_some());
        assert!(store.release_unknown(unreadable).is_err());
        assert_eq!(store.reservations().unwrap().into_keys().collect::<Vec<_>>(), held);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn no_two_owners_ever_share_an_address(steps in prop::collection::vec((0_u8..8, any::<bool>()), 1..40)) {
            let (_directory, state) = state();
            let store = Store::new(&state);
            let ranges = nets(&["10.244.1.0/29"]);
            let mut held: BTreeMap<u8, IpAddr> = BTreeMap::new();
            let mut released = None;
            for (name, is_add) in steps {
                let owner = owner(&format!("c{name}"));
                if !is_add {
                    let addresses = store.release(&owner, Rest::Due).unwrap();
                    prop_assert_eq!(addresses.first().copied(), held.remove(&name));
                    released = addresses.first().copied().or(released);
                    continue;
                }
                let free = 6 - held.len();
                match store.reserve(&owner, &ranges, &[]) {
                    Ok(addresses) => {
                        let is_new = !held.contains_key(&name);
                        let shared = held.iter().any(|(other, address)| *other != name && addresses.contains(address));
                        prop_assert!(!shared, "{:?} twice", addresses);
                        prop_assert!(!(is_new && free > 1 && released == Some(addresses[0])), "reused too soon");
                        held.insert(name, addresses[0]);
                        if is_new {
                            released = None;
                        }
                    }
                    Err(error) => prop_assert!(free == 0 && !held.contains_key(&name), "{}", error),
                }
            }
        }
    }
}
