//! Ranges of addresses none of which overlaps another.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

/// Ranges that do not overlap, each with what it belongs to. Looking one up takes the logarithm of how many there are.
#[derive(Clone, Debug)]
pub struct Apart<T>(BTreeMap<IpAddr, (IpNet, T)>);

impl<T> Default for Apart<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Apart<T> {
    /// One of the ranges that share addresses with `net`: the last of them.
    pub fn overlapping(&self, net: IpNet) -> Option<&(IpNet, T)> {
        // Those before it end before it begins.
        let (_, found) = self.0.range(..=net.broadcast()).next_back()?;
        let (range, _) = found;
        (range.contains(&net) || net.contains(range)).then_some(found)
    }

    /// Adds a range unless it [overlaps](Self::overlapping) another one, which is returned then.
    pub fn insert(&mut self, net: IpNet, owner: T) -> Result<(), &(IpNet, T)> {
        if self.overlapping(net).is_none() {
            self.0.insert(net.network(), (net, owner));
            return Ok(());
        }
        self.overlapping(net).map_or(Ok(()), Err)
    }
}

/// The ranges that lie in no other, sorted. Ranges nest or are apart, so the result has no overlaps; it is not merged
/// further, so that one range more is one element more.
pub fn outermost(mut nets: Vec<IpNet>) -> Vec<IpNet> {
    nets.sort_unstable_by_key(|net| (net.network(), net.prefix_len()));
    let mut outermost: Vec<IpNet> = Vec::new();
    for net in nets {
        if !outermost.last().is_some_and(|outer| outer.contains(&net)) {
            outermost.push(net);
        }
    }
    outermost
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn net() -> impl Strategy<Value = IpNet> {
        let v4 = (0_u8..4, 22_u8..=32).prop_map(|(third, len)| IpNet::new([10, 0, third, 0].into(), len).unwrap());
        let v6 = (0_u16..4, 110_u8..=128)
            .prop_map(|(last, len)| IpNet::new([0xfd00, 0, 0, 0, 0, 0, 0, last].into(), len).unwrap());
        prop_oneof![v4, v6].prop_map(|net| net.trunc())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_taken_is_what_shares_addresses_with_an_earlier_range(nets in prop::collection::vec(net(), 0..20)) {
            let mut taken: Vec<IpNet> = Vec::new();
            let mut apart = Apart::default();
            for net in nets {
                let is_taken = taken.iter().any(|other| other.contains(&net) || net.contains(other));
                prop_assert_eq!(apart.insert(net, ()).is_err(), is_taken, "{} among {:?}", net, &taken);
                if !is_taken {
                    taken.push(net);
                }
            }
        }
    }
}
