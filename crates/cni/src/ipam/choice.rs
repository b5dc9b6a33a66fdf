//! Which address is next: pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::IpNet;

/// The next address of `ranges`, all of one family: the lowest that is neither taken nor among the `released`, else the
/// one of those that was released first.
///
/// So nobody who still talks to the former owner of an address meets a new one there, as long as that can be avoided.
/// The lowest address of a range and, for IPv4, the highest are never given out, unless it has only two.
pub(super) fn next_free(ranges: &[IpNet], taken: &BTreeSet<IpAddr>, released: &[IpAddr]) -> Option<IpAddr> {
    let is_v4 = ranges.first()?.addr().is_ipv4();
    let spans: Vec<RangeInclusive<u128>> = ranges.iter().map(usable).collect();
    let of_family = |address: &&IpAddr| address.is_ipv4() == is_v4;
    let avoided: BTreeSet<u128> = taken.iter().chain(released).filter(of_family).map(number).collect();
    if let Some(number) = spans.iter().find_map(|span| first_free(span, &avoided)) {
        return Some(if is_v4 { Ipv4Addr::from(number as u32).into() } else { Ipv6Addr::from(number).into() });
    }
    let is_usable = |address: &&IpAddr| spans.iter().any(|span| span.contains(&number(address)));
    released.iter().filter(of_family).filter(is_usable).find(|address| !taken.contains(address)).copied()
}

/// Whether an address may be given out by one of these ranges.
pub(super) fn is_usable(ranges: &[IpNet], address: IpAddr) -> bool {
    ranges.iter().any(|range| range.contains(&address) && usable(range).contains(&number(&address)))
}

/// How many addresses of a range may be given out.
pub(super) fn size(range: &IpNet) -> u128 {
    let usable = usable(range);
    // All of IPv6 is one more than there are numbers.
    (usable.end() - usable.start()).saturating_add(1)
}

/// The addresses of a range that may be given out.
fn usable(range: &IpNet) -> RangeInclusive<u128> {
    let (first, last) = (number(&range.network()), number(&range.broadcast()));
    if last - first < 2 {
        return first..=last;
    }
    let is_v4 = range.addr().is_ipv4();
    first + 1..=if is_v4 { last - 1 } else { last }
}

fn first_free(span: &RangeInclusive<u128>, taken: &BTreeSet<u128>) -> Option<u128> {
    let mut candidate = *span.start();
    for taken in taken.range(span.clone()) {
        if *taken != candidate {
            break;
        }
        candidate += 1;
    }
    span.contains(&candidate).then_some(candidate)
}

fn number(address: &IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(*address).into(),
        IpAddr::V6(address) => (*address).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn next(ranges: &[&str], taken: &[&str], released: &[&str]) -> Option<String> {
        let taken = taken.iter().map(|text| ip(text)).collect();
        let released: Vec<IpAddr> = released.iter().map(|text| ip(text)).collect();
        next_free(&nets(ranges), &taken, &released).map(|address| address.to_string())
    }

    #[test]
    fn the_lowest_address_that_was_never_used_comes_first() {
        let range = ["10.0.0.0/29"];
        assert_eq!(next(&range, &[], &[]).as_deref(), Some("10.0.0.1"));
        assert_eq!(next(&range, &["10.0.0.1"], &[]).as_deref(), Some("10.0.0.2"));
        assert_eq!(next(&range, &["10.0.0.2"], &["10.0.0.1"]).as_deref(), Some("10.0.0.3"));
    }

    #[test]
    fn the_address_released_first_is_used_again_when_all_were_used() {
        let ranges = ["10.0.0.0/30", "10.0.1.0/30"];
        let released = ["10.0.1.1", "10.0.0.2", "10.0.0.1"];
        assert_eq!(next(&ranges, &["10.0.1.2"], &released).as_deref(), Some("10.0.1.1"));
        assert_eq!(next(&ranges, &["10.0.1.1", "10.0.1.2"], &released).as_deref(), Some("10.0.0.2"));
        assert_eq!(next(&ranges, &["10.0.0.1", "10.0.0.2", "10.0.1.1", "10.0.1.2"], &released), None);
    }

    #[test]
    fn tiny_and_huge_ranges_work() {
        assert_eq!(next(&["10.0.0.7/32"], &[], &[]).as_deref(), Some("10.0.0.7"));
        assert_eq!(next(&["10.0.0.6/31"], &["10.0.0.6"], &[]).as_deref(), Some("10.0.0.7"));
        assert_eq!(next(&["255.255.255.254/31"], &["255.255.255.254", "255.255.255.255"], &[]), None);
        assert_eq!(next(&["fd00::/64"], &["fd00::1", "10.0.0.1"], &[]).as_deref(), Some("fd00::2"));
        assert_eq!(next(&["::/0"], &[], &["::1"]).as_deref(), Some("::2"));
    }

    proptest! {
        #[test]
        fn a_free_address_is_found_whenever_there_is_one(
            taken in prop::collection::btree_set(0_u8..16, 0..16),
            released in prop::collection::vec(0_u8..16, 0..16),
        ) {
            let ranges = nets(&["10.0.0.0/28"]);
            let address = |low: u8| IpAddr::from([10, 0, 0, low]);
            let taken: BTreeSet<IpAddr> = taken.into_iter().map(address).collect();
            let released: Vec<IpAddr> = released.into_iter().map(address).collect();
            let free: BTreeSet<IpAddr> = (1..15).map(address).filter(|address| !taken.contains(address)).collect();
            match next_free(&ranges, &taken, &released) {
                Some(found) => {
                    prop_assert!(free.contains(&found));
                    prop_assert!(!released.contains(&found) || free.iter().all(|free| released.contains(free)));
                }
                None => prop_assert!(free.is_empty()),
            }
        }
    }
}
