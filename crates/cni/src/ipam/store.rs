//! Who has which address, in files.
//!
//! One file per address, named after it, holding its owner: a crash at any point leaves whole files only, a look with
//! `ls` says what is taken, and two calls need the lock just while they choose, not while the disk writes. (A journal
//! would have every call wait for the one before it to reach the disk.)
//!
//! The boot's identifier is kept with them: containers do not outlive a boot, so a reservation of an earlier one is
//! void, whether or not the runtime ever says `DEL`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ipnet::IpNet;

use super::IpamError;
use super::choice::next_free;
use crate::owner::Owner;

/// This many released addresses are remembered, so that they come last in turn; as many as a /24 has.
const RELEASED_MAX: usize = 256;

/// The reservations of one node.
#[derive(Debug)]
pub(crate) struct Store {
    directory: PathBuf,
    boot: String,
}

/// Held while choosing; the kernel lets go of it when the process ends, however it ends.
struct Lock {
    _file: File,
}

impl Store {
    /// The store in `directory`, in the boot with this identifier. Touches nothing yet.
    pub(crate) fn new(directory: &Path, boot: String) -> Self {
        Self { directory: directory.to_owned(), boot }
    }

    /// One address of each family that has ranges, for `owner`. What `owner` holds already it gets again.
    pub(crate) fn reserve(&self, owner: &Owner, ranges: &[IpNet]) -> Result<Vec<IpAddr>, IpamError> {
        let mut addresses = Vec::new();
        let mut written = Vec::new();
        let lock = self.lock()?;
        for family in families(ranges) {
            match self.reserve_in(&family, owner) {
                Ok((address, file)) => {
                    addresses.push(address);
                    written.extend(file.map(|file| (address, file)));
                }
                Err(error) => {
                    drop(lock);
                    self.release(owner)?;
                    return Err(error);
                }
            }
        }
        drop(lock);
        for (address, file) in &written {
            let synced = file.sync_all().and_then(|()| self.sync_directory());
            synced.map_err(|source| IpamError::Reserve { address: *address, source })?;
        }
        Ok(addresses)
    }

    /// Ends all reservations of `owner` and returns their addresses; none is fine.
    pub(crate) fn release(&self, owner: &Owner) -> Result<Vec<IpAddr>, IpamError> {
        if !self.directory.exists() {
            return Ok(Vec::new());
        }
        let lock = self.lock()?;
        let mut held = self.reservations()?;
        held.retain(|_, holder| holder.as_ref() == Some(owner));
        let held: Vec<IpAddr> = held.into_keys().collect();
        self.remove(&held)?;
        drop(lock);
        if let Some(address) = held.first() {
            self.sync_directory().map_err(|source| IpamError::Release { address: *address, source })?;
        }
        Ok(held)
    }

    /// All reservations; one whose file cannot be understood has no owner and stays taken.
    pub(crate) fn reservations(&self) -> Result<BTreeMap<IpAddr, Option<Owner>>, IpamError> {
        let failed = |source| self.cannot_read(source);
        let entries = match fs::read_dir(self.addresses()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            entries => entries.map_err(failed)?,
        };
        let mut reservations = BTreeMap::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let Some(address) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            match fs::read(entry.path()) {
                Ok(content) => {
                    reservations.insert(address, serde_json::from_slice(&content).ok());
                }
                // Somebody released it this moment.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(reservations)
    }

    /// Whether an address of each family could be reserved now.
    pub(crate) fn probe(&self, ranges: &[IpNet]) -> Result<(), IpamError> {
        let _lock = self.lock()?;
        let taken: BTreeSet<IpAddr> = self.reservations()?.into_keys().collect();
        families(ranges).iter().try_for_each(|family| self.choose(family, &taken).map(drop))
    }

    /// Ends reservations that no one can be the owner of. Returns their addresses.
    pub(crate) fn release_unowned(&self) -> Result<Vec<IpAddr>, IpamError> {
        let _lock = self.lock()?;
        let unowned: Vec<IpAddr> =
            self.reservations()?.into_iter().filter(|(_, owner)| owner.is_none()).map(|(address, _)| address).collect();
        self.remove(&unowned)?;
        Ok(unowned)
    }

    /// Ends reservations and remembers when. Needs the lock.
    fn remove(&self, addresses: &[IpAddr]) -> Result<(), IpamError> {
        for address in addresses {
            self.move_to_released(*address).map_err(|source| IpamError::Release { address: *address, source })?;
        }
        Ok(())
    }

    fn move_to_released(&self, address: IpAddr) -> io::Result<()> {
        let released = self.released_directory().join(address.to_string());
        fs::rename(self.file_of(address), &released)?;
        File::options().write(true).open(&released)?.set_modified(SystemTime::now())?;
        for address in self.released()?.iter().rev().skip(RELEASED_MAX) {
            fs::remove_file(self.released_directory().join(address.to_string()))?;
        }
        Ok(())
    }

    /// Addresses in the order of their release, the first released first.
    fn released(&self) -> io::Result<Vec<IpAddr>> {
        let mut released: Vec<(SystemTime, IpAddr)> = Vec::new();
        for entry in fs::read_dir(self.released_directory())? {
            let entry = entry?;
            if let Some(address) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                released.push((entry.metadata()?.modified()?, address));
            }
        }
        released.sort_unstable();
        Ok(released.into_iter().map(|(_, address)| address).collect())
    }

    /// The address, and the file to bring to the disk when it was written just now. Needs the lock.
    fn reserve_in(&self, ranges: &[IpNet], owner: &Owner) -> Result<(IpAddr, Option<File>), IpamError> {
        let reservations = self.reservations()?;
        let is_ours = |address: &IpAddr| ranges.iter().any(|range| range.contains(address));
        let held = reservations.iter().find(|(address, holder)| holder.as_ref() == Some(owner) && is_ours(address));
        if let Some((address, _)) = held {
            return Ok((*address, None));
        }
        let taken: BTreeSet<IpAddr> = reservations.into_keys().collect();
        let address = self.choose(ranges, &taken)?;
        let file = self.write_reservation(address, owner).map_err(|source| IpamError::Reserve { address, source })?;
        // Only a hint for later calls: losing it costs nothing but the turn.
        let _ = fs::remove_file(self.released_directory().join(address.to_string()));
        Ok((address, Some(file)))
    }

    fn choose(&self, ranges: &[IpNet], taken: &BTreeSet<IpAddr>) -> Result<IpAddr, IpamError> {
        let released = self.released().map_err(|source| self.cannot_read(source))?;
        next_free(ranges, taken, &released).ok_or_else(|| IpamError::Exhausted {
            ranges: ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            taken: taken.iter().filter(|address| ranges.iter().any(|range| range.contains(*address))).count(),
        })
    }

    fn write_reservation(&self, address: IpAddr, owner: &Owner) -> io::Result<File> {
        self.replace(&self.file_of(address), &serde_json::to_vec(owner)?)
    }

    /// Makes `path` hold `content`: whole or not at all, for whoever reads it. Needs the lock.
    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<File> {
        let new = self.directory.join("new");
        let written = File::create(&new).and_then(|mut file| file.write_all(content).map(|()| file));
        let renamed = written.and_then(|file| fs::rename(&new, path).map(|()| file));
        if renamed.is_err() {
            let _ = fs::remove_file(&new);
        }
        renamed
    }

    fn lock(&self) -> Result<Lock, IpamError> {
        let failed = |source| IpamError::Lock { path: self.directory.clone(), source };
        fs::create_dir_all(self.addresses()).map_err(failed)?;
        fs::create_dir_all(self.released_directory()).map_err(failed)?;
        let file = File::create(self.directory.join("lock")).map_err(failed)?;
        file.lock().map_err(failed)?;
        self.forget_earlier_boots().map_err(failed)?;
        Ok(Lock { _file: file })
    }

    fn forget_earlier_boots(&self) -> io::Result<()> {
        let path = self.directory.join("boot");
        match fs::read_to_string(&path) {
            Ok(boot) if boot == self.boot => return Ok(()),
            Ok(_) => {
                fs::remove_dir_all(self.addresses())?;
                fs::create_dir_all(self.addresses())?;
            }
            // Somebody copied the directory without it, or this is the first call: nothing says they are stale.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.replace(&path, self.boot.as_bytes()).map(drop)
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(self.addresses())?.sync_all()
    }

    fn addresses(&self) -> PathBuf {
        self.directory.join("addresses")
    }

    fn released_directory(&self) -> PathBuf {
        self.directory.join("released")
    }

    fn cannot_read(&self, source: io::Error) -> IpamError {
        IpamError::Read { path: self.directory.clone(), source }
    }

    fn file_of(&self, address: IpAddr) -> PathBuf {
        self.addresses().join(address.to_string())
    }
}

/// The ranges of each family that has any, IPv4 first.
fn families(ranges: &[IpNet]) -> Vec<Vec<IpNet>> {
    let (v4, v6): (Vec<IpNet>, Vec<IpNet>) = ranges.iter().partition(|range| range.addr().is_ipv4());
    [v4, v6].into_iter().filter(|family| !family.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn owner(name: &str) -> Owner {
        Owner { container: name.into(), interface: "eth0".into() }
    }

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(&directory.path().join("state"), "first boot".into());
        (directory, store)
    }

    #[test]
    fn each_owner_gets_an_address_per_family_and_keeps_it() {
        let (_directory, store) = store();
        let ranges = nets(&["10.244.1.0/24", "fd00::/64"]);
        let first = store.reserve(&owner("a"), &ranges).unwrap();
        assert_eq!(first, ["10.244.1.1".parse::<IpAddr>().unwrap(), "fd00::1".parse().unwrap()]);
        assert_ne!(store.reserve(&owner("b"), &ranges).unwrap(), first);
        assert_eq!(store.reserve(&owner("a"), &ranges).unwrap(), first);
    }

    #[test]
    fn a_release_works_twice_and_without_a_directory() {
        let (_directory, store) = store();
        assert_eq!(store.release(&owner("a")).unwrap(), Vec::<IpAddr>::new());
        let held = store.reserve(&owner("a"), &nets(&["10.244.1.0/24"])).unwrap();
        assert_eq!(store.release(&owner("a")).unwrap(), held);
        assert_eq!(store.release(&owner("a")).unwrap(), Vec::<IpAddr>::new());
    }

    #[test]
    fn a_full_range_says_so_and_keeps_nothing_half() {
        let (_directory, store) = store();
        let ranges = nets(&["10.244.1.0/30", "fd00::/64"]);
        store.reserve(&owner("a"), &ranges).unwrap();
        store.reserve(&owner("b"), &ranges).unwrap();
        let full = nets(&["fd00::/64", "10.244.1.0/30"]);
        let error = store.reserve(&owner("c"), &full).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no free address in 10.244.1.0/30: all 2 are in use; delete pods or give the node a larger range"
        );
        assert!(!store.reservations().unwrap().values().any(|holder| *holder == Some(owner("c"))));
    }

    #[test]
    fn reservations_of_an_earlier_boot_are_void() {
        let (directory, first) = store();
        first.reserve(&owner("a"), &nets(&["10.244.1.0/30"])).unwrap();
        let second = Store::new(&directory.path().join("state"), "second boot".into());
        second.reserve(&owner("b"), &nets(&["10.244.1.0/30"])).unwrap();
        assert_eq!(second.reservations().unwrap().into_values().collect::<Vec<_>>(), [Some(owner("b"))]);
    }

    #[test]
    fn a_file_nobody_understands_stays_taken_until_collected() {
        let (directory, store) = store();
        store.release_unowned().unwrap();
        fs::write(directory.path().join("state/addresses/10.244.1.1"), "").unwrap();
        assert_eq!(
            store.reserve(&owner("a"), &nets(&["10.244.1.0/24"])).unwrap(),
            ["10.244.1.2".parse::<IpAddr>().unwrap()]
        );
        assert_eq!(store.release_unowned().unwrap(), ["10.244.1.1".parse::<IpAddr>().unwrap()]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn no_two_owners_ever_share_an_address(steps in prop::collection::vec((0_u8..8, any::<bool>()), 1..40)) {
            let (_directory, store) = store();
            let ranges = nets(&["10.244.1.0/29"]);
            let mut held: BTreeMap<u8, IpAddr> = BTreeMap::new();
            let mut released = None;
            for (name, is_add) in steps {
                let owner = owner(&format!("c{name}"));
                if !is_add {
                    let addresses = store.release(&owner).unwrap();
                    prop_assert_eq!(addresses.first().copied(), held.remove(&name));
                    released = addresses.first().copied().or(released);
                    continue;
                }
                let free = 6 - held.len();
                match store.reserve(&owner, &ranges) {
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
