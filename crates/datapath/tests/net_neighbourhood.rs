//! Answers for addresses that no link has, to a neighbour with a kernel of its own.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use datapath::neighbourhood::message::{Heard, Neighbour, announcement, answer, parse, probe};
use datapath::neighbourhood::{NeighbourSocket, SolicitedGroups};
use datapath::route::{MacAddress, Rtnetlink};
use datapath::testing::{UPLINK, isolated, other_machine, wait_for};
use datapath::{Netns, route::Link};
use model::IpFamily;

const SECONDS: Duration = Duration::from_secs(10);

fn link() -> (Link, MacAddress) {
    let link = Rtnetlink::open().unwrap().require_link(UPLINK).unwrap();
    let mac = link.mac.unwrap();
    (link, mac)
}

/// The next thing heard that `wanted` picks.
fn hear<T>(socket: &NeighbourSocket, wanted: impl Fn(Heard) -> Option<T>) -> T {
    wait_for("a neighbour", SECONDS, || {
        let frame = socket.receive(Duration::ZERO).unwrap()?;
        parse(&frame).into_iter().find_map(&wanted)
    })
}

fn question_for(target: IpAddr) -> impl Fn(Heard) -> Option<Neighbour> {
    move |heard| match heard {
        Heard::Question { target: asked, asker } if asked == target => Some(asker),
        _ => None,
    }
}

/// What the other machine's kernel believes about IPv4 neighbours.
fn believed(other: &Netns) -> String {
    other.run(|| std::fs::read_to_string("/proc/thread-self/net/arp").unwrap()).unwrap()
}

/// Sends to an address from the other machine, so that its kernel asks for it.
fn send(other: &Netns, address: IpAddr) {
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    // What is not delivered yet is not the sender's concern.
    other.run(|| UdpSocket::bind(any).unwrap().send_to(b"x", (address, 9)).map(drop).unwrap_or_default()).unwrap();
}

#[test]
fn a_neighbour_believes_the_answer_to_its_question() {
    isolated(|| {
        let other = other_machine(&[["10.0.0.1/24".parse().unwrap(), "10.0.0.2/24".parse().unwrap()]]);
        let (link, mac) = link();
        let socket = NeighbourSocket::open(link.index, mac, IpFamily::V4).unwrap();
        let address: IpAddr = "10.0.0.7".parse().unwrap();
        send(&other, address);
        let asker = hear(&socket, question_for(address));
        assert_eq!(asker.address, "10.0.0.2".parse::<IpAddr>().unwrap());
        let entry = |line: &&str| line.starts_with("10.0.0.7 ") && line.contains(&mac.to_string());
        assert_eq!(believed(&other).lines().find(entry), None, "nobody else answers");
        socket.send(&answer(mac, address, &asker)).unwrap();
        wait_for("the neighbour to believe it", SECONDS, || believed(&other).lines().find(entry).map(drop));
    });
}

#[test]
fn a_neighbour_follows_an_address_that_moves() {
    isolated(|| {
        let other = other_machine(&[["10.0.0.1/24".parse().unwrap(), "10.0.0.2/24".parse().unwrap()]]);
        let (link, mac) = link();
        let socket = NeighbourSocket::open(link.index, mac, IpFamily::V4).unwrap();
        let address: IpAddr = "10.0.0.7".parse().unwrap();
        let before = MacAddress([2, 0, 0, 0, 0, 0x77]);
        send(&other, address);
        let asker = hear(&socket, question_for(address));
        socket.send(&answer(before, address, &asker)).unwrap();
        let says = |mac: MacAddress| believed(&other).contains(&mac.to_string()).then_some(());
        wait_for("the first answer", SECONDS, || says(before));
        // A kernel keeps to a fresh answer for a second (`locktime`), which is why announcements are repeated.
        wait_for("the new place", SECONDS, || {
            announcement(mac, address).iter().for_each(|frame| socket.send(frame).unwrap());
            believed(&other)
                .lines()
                .find(|line| line.starts_with("10.0.0.7 ") && line.contains(&mac.to_string()))
                .map(drop)
        });
    });
}

#[test]
fn questions_of_ipv6_are_heard_though_their_groups_are_not_joined_and_their_answers_believed() {
    isolated(|| {
        let other = other_machine(&[["fd00::1/64".parse().unwrap(), "fd00::2/64".parse().unwrap()]]);
        let (link, mac) = link();
        let socket = NeighbourSocket::open(link.index, mac, IpFamily::V6).unwrap();
        let address: IpAddr = "fd00::7".parse().unwrap();
        // Of the loopback interface: the kernel takes packets for it, and answers nobody who asks for it elsewhere.
        let mut links = Rtnetlink::open().unwrap();
        let loopback = links.require_link("lo").unwrap().index;
        links.set_up(loopback).unwrap();
        links.add_address(loopback, "fd00::7/128".parse().unwrap()).unwrap();
        let receiver = UdpSocket::bind((address, 9)).unwrap();
        receiver.set_nonblocking(true).unwrap();
        wait_for("a packet for the address", SECONDS, || {
            send(&other, address);
            // Every time it is asked: a kernel that has given up in between takes no answer to an earlier question.
            let frame = socket.receive(Duration::ZERO).unwrap().unwrap_or_default();
            for asker in parse(&frame).into_iter().filter_map(question_for(address)) {
                socket.send(&answer(mac, address, &asker)).unwrap();
            }
            receiver.recv(&mut [0]).ok()
        });
    });
}

#[test]
fn a_silent_holder_of_an_address_answers_a_probe_and_believes_nothing_of_it() {
    isolated(|| {
        let family = |own: &str, theirs: &str| [own.parse().unwrap(), theirs.parse().unwrap()];
        let other = other_machine(&[family("10.0.0.1/24", "10.0.0.7/24"), family("fd00::1/64", "fd00::7/64")]);
        let (link, mac) = link();
        let holder = Rtnetlink::open_in(&other).unwrap().require_link(UPLINK).unwrap().mac.unwrap();
        let believed_before = believed(&other);
        for (held, free, family) in [("10.0.0.7", "10.0.0.8", IpFamily::V4), ("fd00::7", "fd00::8", IpFamily::V6)] {
            let socket = NeighbourSocket::open(link.index, mac, family).unwrap();
            let (held, free): (IpAddr, IpAddr) = (held.parse().unwrap(), free.parse().unwrap());
            let mut heard = Vec::new();
            wait_for("an answer to the probe", SECONDS, || {
                socket.send(&probe(mac, free)).unwrap();
                socket.send(&probe(mac, held)).unwrap();
                let frame = socket.receive(Duration::from_millis(100)).unwrap()?;
                heard.extend(parse(&frame));
                heard.contains(&Heard::Claim(Neighbour { mac: holder, address: held })).then_some(())
            });
            let is_of_free = |heard: &Heard| matches!(heard, Heard::Claim(claim) if claim.address == free);
            assert!(!heard.iter().any(is_of_free), "nobody has {free}: {heard:?}");
        }
        assert_eq!(believed(&other), believed_before, "a probe claims nothing");
    });
}

#[test]
fn groups_are_joined_as_long_as_their_addresses_are_wanted() {
    isolated(|| {
        let _other = other_machine(&[["fd00::1/64".parse().unwrap(), "fd00::2/64".parse().unwrap()]]);
        let (link, _) = link();
        let is_joined = |group: &str| {
            let groups = std::fs::read_to_string("/proc/thread-self/net/igmp6").unwrap();
            groups.lines().any(|line| line.contains(UPLINK) && line.contains(group))
        };
        let (first, second) = ("ff0200000000000000000001ff000007", "ff0200000000000000000001ff120034");
        let mut groups = SolicitedGroups::open(link.index).unwrap();
        let follow = |groups: &mut SolicitedGroups, addresses: &[&str]| {
            groups.follow(addresses.iter().map(|address| address.parse().unwrap())).unwrap();
            [is_joined(first), is_joined(second)]
        };
        assert_eq!(follow(&mut groups, &[]), [false, false]);
        assert_eq!(follow(&mut groups, &["fd00::7", "fd00:1::7", "10.0.0.7"]), [true, false]);
        assert_eq!(follow(&mut groups, &["fd00:1::7", "fd00::5612:34"]), [true, true]);
        assert_eq!(follow(&mut groups, &["fd00::5612:34"]), [false, true]);
        drop(groups);
        assert!(!is_joined(second));
    });
}
