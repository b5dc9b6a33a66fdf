//! Ethernet frames that ask for, answer or claim an address. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::groups::solicited_node;
use crate::route::MacAddress;

const BROADCAST: MacAddress = MacAddress([0xff; 6]);
const ETHERNET_LEN: usize = 14;
const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
/// Ethernet and IPv4, six and four octets.
const ARP_HEADER: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];
const ARP_REQUEST: u8 = 1;
const ARP_REPLY: u8 = 2;
const IPV6_LEN: usize = 40;
const ICMPV6: u8 = 58;
/// Neighbour discovery is believed with this hop limit only: such a packet has crossed no router.
const HOP_LIMIT: u8 = 255;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const TARGET_LINK_ADDRESS: u8 = 2;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: MacAddress = MacAddress([0x33, 0x33, 0, 0, 0, 1]);

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Somebody wants to know who has an address.
    Question {
        /// The address.
        target: IpAddr,
        /// Who asks.
        asker: Neighbour,
    },
    /// Somebody says that it has an address.
    Claim(Neighbour),
}

/// A machine on the link. Its address is unspecified while it does not have one yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its Ethernet address.
    pub mac: MacAddress,
    /// One of its IP addresses.
    pub address: IpAddr,
}

/// What a frame says about addresses; nothing for all others, and for malformed ones.
pub fn parse(frame: &[u8]) -> Vec<Heard> {
    let (Some(kind), Some(payload)) = (frame.get(12..ETHERNET_LEN), frame.get(ETHERNET_LEN..)) else {
        return Vec::new();
    };
    let source = octets::<6>(frame, 6).map(MacAddress);
    match (kind, source) {
        (kind, Some(_)) if kind == ETHERTYPE_ARP => parse_arp(payload).unwrap_or_default(),
        (kind, Some(source)) if kind == ETHERTYPE_IPV6 => parse_ipv6(payload, source).unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// A question also says who asks, and of an address asked for by itself that its asker has it.
fn parse_arp(packet: &[u8]) -> Option<Vec<Heard>> {
    if packet.get(..6)? != ARP_HEADER {
        return None;
    }
    let operation = octets::<2>(packet, 6)?;
    let address = |at| octets::<4>(packet, at).map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    let asker = Neighbour { mac: MacAddress(octets(packet, 8)?), address: address(14)? };
    let target = address(24)?;
    let mut heard = Vec::new();
    if !asker.address.is_unspecified() {
        heard.push(Heard::Claim(asker));
    }
    if operation == [0, ARP_REQUEST] && target != asker.address {
        heard.push(Heard::Question { target, asker });
    }
    Some(heard)
}

/// As with ARP, a question also says who asks, unless it asks before it has an address (RFC 4862, 5.4.2).
fn parse_ipv6(packet: &[u8], source: MacAddress) -> Option<Vec<Heard>> {
    if *packet.get(6)? != ICMPV6 || *packet.get(7)? != HOP_LIMIT {
        return None;
    }
    let address = |at| octets::<16>(packet, at).map(|octets| IpAddr::V6(Ipv6Addr::from(octets)));
    let (kind, target) = (*packet.get(IPV6_LEN)?, address(IPV6_LEN + 8)?);
    match kind {
        SOLICITATION => {
            let asker = Neighbour { mac: source, address: address(8)? };
            let claim = (!asker.address.is_unspecified()).then_some(Heard::Claim(asker));
            Some(claim.into_iter().chain([Heard::Question { target, asker }]).collect())
        }
        ADVERTISEMENT => {
            let option = packet.get(IPV6_LEN + 24..)?;
            let named = (option.first() == Some(&TARGET_LINK_ADDRESS)).then(|| octets(option, 2).map(MacAddress));
            Some(vec![Heard::Claim(Neighbour { mac: named.flatten().unwrap_or(source), address: target })])
        }
        _ => None,
    }
}

/// The answer to a question: `target` is at `mac`. Who asks before it has an address of its own is told with everybody
/// else, so that it does not take this one.
pub fn answer(mac: MacAddress, target: IpAddr, asker: &Neighbour) -> Vec<u8> {
    match (target, asker.address) {
        (IpAddr::V4(target), IpAddr::V4(address)) => {
            arp(ARP_REPLY, (mac, target), (asker.mac, address), asker.mac) //
        }
        (IpAddr::V6(target), IpAddr::V6(address)) if !address.is_unspecified() => {
            advertisement(mac, target, (asker.mac, address), SOLICITED | OVERRIDE)
        }
        (target, _) => announcement(mac, target).into_iter().next().unwrap_or_default(),
    }
}

/// The frames that tell everybody on the link, unasked, that `address` is at `mac` from now on.
pub fn announcement(mac: MacAddress, address: IpAddr) -> Vec<Vec<u8>> {
    match address {
        // Some listen to questions only and some to answers only.
        IpAddr::V4(address) => vec![
            arp(ARP_REQUEST, (mac, address), (MacAddress([0; 6]), address), BROADCAST),
            arp(ARP_REPLY, (mac, address), (mac, address), BROADCAST),
        ],
        IpAddr::V6(address) => vec![advertisement(mac, address, (ALL_NODES_MAC, ALL_NODES), OVERRIDE)],
    }
}

/// The frame that asks whether anybody on the link has `address`, without claiming it: an ARP probe (RFC 5227, 1.1), or the
/// solicitation by which duplicates are detected (RFC 4862, 5.4.2). Who asks is at `mac`.
pub fn probe(mac: MacAddress, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => {
            arp(ARP_REQUEST, (mac, Ipv4Addr::UNSPECIFIED), (MacAddress([0; 6]), address), BROADCAST) //
        }
        IpAddr::V6(address) => solicitation(mac, address),
    }
}

fn arp(operation: u8, sender: (MacAddress, Ipv4Addr), target: (MacAddress, Ipv4Addr), to: MacAddress) -> Vec<u8> {
    let mut frame = ethernet(to, sender.0, ETHERTYPE_ARP);
    frame.extend(ARP_HEADER);
    frame.extend([0, operation]);
    for (mac, address) in [sender, target] {
        frame.extend(mac.0);
        frame.extend(address.octets());
    }
    frame
}

fn advertisement(mac: MacAddress, target: Ipv6Addr, to: (MacAddress, Ipv6Addr), flags: u8) -> Vec<u8> {
    let mut message = vec![ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0];
    message.extend(target.octets());
    message.extend([TARGET_LINK_ADDRESS, 1]);
    message.extend(mac.0);
    neighbour_discovery((mac, target), to, message)
}

/// Of nobody yet, so that it may not say where its sender is (RFC 4861, 4.3).
fn solicitation(mac: MacAddress, target: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.octets());
    let group = solicited_node(target);
    let [.., a, b, c, d] = group.octets();
    // The Ethernet group of an IPv6 group (RFC 2464, 7).
    let group_mac = MacAddress([0x33, 0x33, a, b, c, d]);
    neighbour_discovery((mac, Ipv6Addr::UNSPECIFIED), (group_mac, group), message)
}

/// A frame with an ICMPv6 message, of at most 255 octets, whose checksum is still zero.
fn neighbour_discovery(from: (MacAddress, Ipv6Addr), to: (MacAddress, Ipv6Addr), mut message: Vec<u8>) -> Vec<u8> {
    let sum = checksum(from.1, to.1, &message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    let mut frame = ethernet(to.0, from.0, ETHERTYPE_IPV6);
    frame.extend([0x60, 0, 0, 0, 0, message.len() as u8, ICMPV6, HOP_LIMIT]);
    frame.extend(from.1.octets());
    frame.extend(to.1.octets());
    frame.extend(message);
    frame
}

fn ethernet(to: MacAddress, from: MacAddress, kind: [u8; 2]) -> Vec<u8> {
    [&to.0[..], &from.0[..], &kind[..]].concat()
}

/// The checksum of an ICMPv6 message (RFC 4443, 2.3), whose own field is zero.
fn checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    let pseudo = [&source.octets()[..], &destination.octets(), &length, &[0, 0, 0, ICMPV6]].concat();
    let words = pseudo.chunks(2).chain(message.chunks(2));
    let sum: u32 = words.map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(0)
}

fn octets<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
    const THEIRS: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_arp_question_is_heard_and_its_answer_claims_the_address() {
        let (IpAddr::V4(asked), IpAddr::V4(asker)) = (address("10.0.0.7"), address("10.0.0.2")) else { panic!() };
        let question = arp(ARP_REQUEST, (THEIRS, asker), (MacAddress([0; 6]), asked), BROADCAST);
        let neighbour = Neighbour { mac: THEIRS, address: asker.into() };
        assert_eq!(
            parse(&question),
            [Heard::Claim(neighbour), Heard::Question { target: asked.into(), asker: neighbour }]
        );
        let answered = answer(OURS, asked.into(), &neighbour);
        assert_eq!(answered[..6], THEIRS.0);
        assert_eq!(parse(&answered), [Heard::Claim(Neighbour { mac: OURS, address: asked.into() })]);
    }

    #[test]
    fn an_announcement_is_a_claim_and_no_question() {
        for text in ["10.0.0.7", "fd00::7"] {
            for frame in announcement(OURS, address(text)) {
                assert_eq!(parse(&frame), [Heard::Claim(Neighbour { mac: OURS, address: address(text) })], "{text}");
            }
        }
    }

    #[test]
    fn a_probe_is_a_question_and_no_claim() {
        for (target, unspecified) in [("10.0.0.7", "0.0.0.0"), ("fd00::7", "::")] {
            let asker = Neighbour { mac: THEIRS, address: address(unspecified) };
            let heard = parse(&probe(THEIRS, address(target)));
            assert_eq!(heard, [Heard::Question { target: address(target), asker }], "{target}");
        }
    }

    #[test]
    fn a_probe_of_ipv6_goes_to_the_group_of_its_address_with_a_right_checksum() {
        let frame = probe(OURS, address("fd00::12:3456"));
        assert_eq!(frame[..6], [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
        let group = "ff02::1:ff12:3456".parse().unwrap();
        assert_eq!(frame[ETHERNET_LEN + 24..ETHERNET_LEN + IPV6_LEN], Ipv6Addr::octets(&group));
        // Over a message with its checksum in it the sum is zero.
        assert_eq!(checksum(Ipv6Addr::UNSPECIFIED, group, &frame[ETHERNET_LEN + IPV6_LEN..]), 0);
    }

    #[test]
    fn an_advertisement_answers_with_a_right_checksum() {
        let asker = Neighbour { mac: THEIRS, address: address("fe80::2") };
        let frame = answer(OURS, address("fd00::7"), &asker);
        assert_eq!(parse(&frame), [Heard::Claim(Neighbour { mac: OURS, address: address("fd00::7") })]);
        let (IpAddr::V6(source), IpAddr::V6(destination)) = (address("fd00::7"), asker.address) else { panic!() };
        // Over a message with its checksum in it the sum is zero.
        assert_eq!(checksum(source, destination, &frame[ETHERNET_LEN + IPV6_LEN..]), 0);
        assert_eq!(frame[ETHERNET_LEN + IPV6_LEN + 4], SOLICITED | OVERRIDE);
    }

    fn solicitation_of(source: &str, target: &str) -> Vec<u8> {
        let (IpAddr::V6(source), IpAddr::V6(target)) = (address(source), address(target)) else { panic!() };
        let mut frame = ethernet(ALL_NODES_MAC, THEIRS, ETHERTYPE_IPV6);
        frame.extend([0x60, 0, 0, 0, 0, 24, ICMPV6, HOP_LIMIT]);
        frame.extend(source.octets());
        frame.extend(ALL_NODES.octets());
        frame.extend([SOLICITATION, 0, 0, 0, 0, 0, 0, 0]);
        frame.extend(target.octets());
        frame
    }

    #[test]
    fn a_solicitation_says_who_asks_unless_it_asks_before_it_has_an_address() {
        let asker = |text| Neighbour { mac: THEIRS, address: address(text) };
        let question = |text| Heard::Question { target: address("fd00::7"), asker: asker(text) };
        assert_eq!(
            parse(&solicitation_of("fd00::2", "fd00::7")),
            [Heard::Claim(asker("fd00::2")), question("fd00::2")]
        );
        assert_eq!(parse(&solicitation_of("::", "fd00::7")), [question("::")]);
    }

    #[test]
    fn who_has_no_address_yet_is_told_with_everybody() {
        let asker = Neighbour { mac: THEIRS, address: Ipv6Addr::UNSPECIFIED.into() };
        assert_eq!(answer(OURS, address("fd00::7"), &asker)[..6], ALL_NODES_MAC.0);
    }

    #[test]
    fn what_is_cut_short_says_nothing() {
        let whole = announcement(OURS, address("10.0.0.7")).remove(0);
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), [], "{length} octets");
        }
    }
}
