//! A wire that does with checksums what bad hardware does: what is inside a tunnel keeps whatever the kernel left there.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::thread;

use datapath::Netns;
use datapath::route::{Link, Rtnetlink, Veth, VethEnd};
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvfrom, sendto, socket};

use super::{MTU, set_up};

/// `PACKET_OUTGOING`: what this machine itself sends.
const OUTGOING: u8 = 4;
const ETHERNET_LEN: usize = 14;

/// Connects two ends, of which `near` is in the caller's namespace, and returns that one.
pub fn connect(here: &mut Rtnetlink, near: VethEnd<'_>, far: VethEnd<'_>) -> Link {
    let wire = Netns::create().expect("a namespace");
    let mut inside = Rtnetlink::open_in(&wire).expect("a connection");
    let end = |name| VethEnd { name, mac: None, netns: Some(&wire) };
    let cable = here.create_veth(&Veth { end: near, peer: end("near"), mtu: MTU }).expect("a veth pair");
    let outlet = VethEnd { netns: None, ..end("far") };
    inside.create_veth(&Veth { end: outlet, peer: far, mtu: MTU }).expect("a veth pair");
    let ends = ["near", "far"].map(|name| set_up(&mut inside, name).index.0 as usize);
    let all = || socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll);
    let socket = wire.run(all).expect("a thread").expect("a socket for packets");
    thread::spawn(move || carry(&socket, ends));
    cable
}

/// Passes packets on for as long as the test runs.
fn carry(socket: &OwnedFd, ends: [usize; 2]) {
    let mut buffer = vec![0; 1 << 17];
    // Where to send is known of an end once a packet came from it.
    let mut outlets: [Option<LinkAddr>; 2] = [None, None];
    while let Ok((len, Some(from))) = recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut buffer) {
        if from.pkttype() == OUTGOING {
            continue;
        }
        let Some(side) = ends.iter().position(|end| *end == from.ifindex()) else { continue };
        outlets[side] = Some(from);
        let packet = &mut buffer[..len];
        complete_outermost_checksum(packet);
        if let Some(outlet) = &outlets[1 - side] {
            // Packets too large for the wire are lost, as elsewhere.
            let _ = sendto(socket.as_raw_fd(), packet, outlet, MsgFlags::empty());
        }
    }
}

/// Takes the checksum off UDP over IPv4, which the receiver then does not look at (RFC 768).
fn complete_outermost_checksum(packet: &mut [u8]) {
    const IPV4: [u8; 2] = [0x08, 0x00];
    const UDP: u8 = 17;
    let is_udp = packet.get(12..14) == Some(&IPV4[..]) && packet.get(ETHERNET_LEN + 9) == Some(&UDP);
    let Some(length) = packet.get(ETHERNET_LEN).map(|byte| usize::from(byte & 0x0f) * 4).filter(|_| is_udp) else {
        return;
    };
    if let Some(checksum) = packet.get_mut(ETHERNET_LEN + length + 6..ETHERNET_LEN + length + 8) {
        checksum.fill(0);
    }
}
