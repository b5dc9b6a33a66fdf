//! Addresses behind one name.

use std::net::IpAddr;

use model::IpFamily;

/// The distinct addresses behind a name: those of IPv4 first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    all: Box<[IpAddr]>,
    v4: usize,
}

impl Addresses {
    /// The addresses of one family.
    pub fn of(&self, family: IpFamily) -> &[IpAddr] {
        let (v4, v6) = self.all.split_at(self.v4);
        match family {
            IpFamily::V4 => v4,
            IpFamily::V6 => v6,
        }
    }

    /// The addresses of both families.
    pub fn all(&self) -> &[IpAddr] {
        &self.all
    }

    /// Whether there is no address at all.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl FromIterator<IpAddr> for Addresses {
    fn from_iter<T: IntoIterator<Item = IpAddr>>(addresses: T) -> Self {
        let mut all: Vec<_> = addresses.into_iter().collect();
        all.sort_unstable();
        all.dedup();
        let v4 = all.partition_point(IpAddr::is_ipv4);
        Self { all: all.into(), v4 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_kept_apart_and_repeats_dropped() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let addresses: Addresses = ["fd00::1", "10.0.0.2", "10.0.0.1", "10.0.0.2"].map(address).into_iter().collect();
        assert_eq!(addresses.of(IpFamily::V4), [address("10.0.0.1"), address("10.0.0.2")]);
        assert_eq!(addresses.of(IpFamily::V6), [address("fd00::1")]);
    }
}
