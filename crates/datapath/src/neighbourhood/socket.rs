//! A raw socket on one link.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use model::IpFamily;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike, bind, recv, send, socket};

use crate::route::{LinkIndex, MacAddress};

/// Frames are as long as this at most: those that are heard and sent here are shorter.
const FRAME: usize = 256;
const ICMPV6: u32 = 58;
/// Where a frame has the protocol of its IPv6 packet and the type of its ICMPv6 message.
const NEXT_HEADER_AT: u32 = 14 + 6;
const TYPE_AT: u32 = 14 + 40;
const SOLICITATION: u32 = 135;
const ADVERTISEMENT: u32 = 136;

/// The questions and claims of one family on one link.
#[derive(Debug)]
pub struct NeighbourSocket {
    socket: OwnedFd,
    mac: MacAddress,
}

/// The link cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for neighbours on link {link}")]
pub struct NeighbourError {
    /// The link.
    pub link: LinkIndex,
    /// Why not; without the capability CAP_NET_RAW it is not permitted.
    pub source: io::Error,
}

impl NeighbourSocket {
    /// Listens on a link, whose Ethernet address is `mac`. Needs CAP_NET_RAW.
    pub fn open(link: LinkIndex, mac: MacAddress, family: IpFamily) -> Result<Self, NeighbourError> {
        let socket = open(link, family).map_err(|source| NeighbourError { link, source })?;
        Ok(Self { socket, mac })
    }

    /// The link's Ethernet address.
    pub fn mac(&self) -> MacAddress {
        self.mac
    }

    /// The next frame, waited for so long at most.
    pub fn receive(&self, patience: Duration) -> io::Result<Option<Vec<u8>>> {
        let patience = PollTimeout::try_from(patience).map_err(io::Error::other)?;
        let mut readable = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut readable, patience) {
            Ok(0) | Err(Errno::EINTR) => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut frame = vec![0; FRAME];
        match recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
            Ok(length) => {
                frame.truncate(length);
                Ok(Some(frame))
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a frame as it is; `WouldBlock` if the link's queue is full.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        send(self.socket.as_raw_fd(), frame, MsgFlags::empty())?;
        Ok(())
    }
}

fn open(link: LinkIndex, family: IpFamily) -> io::Result<OwnedFd> {
    // Of no protocol until it is bound, so that it hears nothing of other links.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
    if family == IpFamily::V6 {
        hear_neighbour_discovery_only(&socket)?;
        hear_all_groups(&socket, link)?;
    }
    bind(socket.as_raw_fd(), &address_of(link, family)?)?;
    Ok(socket)
}

fn address_of(link: LinkIndex, family: IpFamily) -> io::Result<LinkAddr> {
    let protocol = match family {
        IpFamily::V4 => libc::ETH_P_ARP,
        IpFamily::V6 => libc::ETH_P_IPV6,
    };
    let protocol = u16::try_from(protocol).map_err(io::Error::other)?;
    // SAFETY: every field of sockaddr_ll is a number or an array of numbers, for which zeros are a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = i32::try_from(link.0).map_err(io::Error::other)?;
    let length = u32::try_from(size_of::<libc::sockaddr_ll>()).map_err(io::Error::other)?;
    // SAFETY: the pointer is to an initialised sockaddr_ll, its length is given, and the family says what it is.
    let address = unsafe { LinkAddr::from_raw((&raw const address).cast(), Some(length)) };
    address.ok_or_else(|| io::Error::other("the kernel's form of a link address is another one"))
}

/// Lets the kernel drop all other packets of IPv6, so that they wake nobody.
fn hear_neighbour_discovery_only(socket: &OwnedFd) -> io::Result<()> {
    const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
    const JUMP_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let step = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut program = [
        step(LOAD_BYTE, 0, 0, NEXT_HEADER_AT),
        step(JUMP_EQUAL, 0, 4, ICMPV6),
        step(LOAD_BYTE, 0, 0, TYPE_AT),
        step(JUMP_EQUAL, 1, 0, SOLICITATION),
        step(JUMP_EQUAL, 0, 1, ADVERTISEMENT),
        step(RETURN, 0, 0, u32::MAX),
        step(RETURN, 0, 0, 0),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter)
}

/// Questions are sent to groups that depend on the address asked for.
fn hear_all_groups(socket: &OwnedFd, link: LinkIndex) -> io::Result<()> {
    let membership = libc::packet_mreq {
        mr_ifindex: i32::try_from(link.0).map_err(io::Error::other)?,
        mr_type: libc::PACKET_MR_ALLMULTI as u16,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set_option(socket, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &membership)
}

fn set_option<T>(socket: &OwnedFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    let length = u32::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open for as long as it is borrowed, and the kernel reads `length` octets of a value that
    // is that long. A filter's program, to which the value points, lives until its caller returns.
    let outcome = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const *value).cast(), length) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
