//! Opening sockets.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd as _;

use nix::libc::EAFNOSUPPORT;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage, sockopt};
use tokio::net::{TcpListener, TcpSocket};

/// How many connections may wait to be accepted.
const TCP_BACKLOG: u32 = 1024;
/// What the kernel holds for a reader that is busy, in octets: some ten thousand queries.
const RECEIVE_BUFFER: usize = 4 << 20;

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} over {protocol}{}", advice(source))]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// UDP or TCP.
    pub protocol: &'static str,
    /// Why not.
    pub source: io::Error,
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another server has it, stop that one or choose another port",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE, or choose a higher port",
        io::ErrorKind::AddrNotAvailable => "; no interface of this network has the address",
        _ => "",
    }
}

/// The sockets of one address.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) udp: Vec<UdpSocket>,
    pub(super) tcp: TcpListener,
}

/// Opens the sockets of an address, `count` of them for UDP.
pub(super) fn open(address: SocketAddr, count: NonZeroUsize) -> Result<Opened, BindError> {
    let tcp = open_tcp(address)?;
    // Port zero is chosen by the kernel, once for all sockets of the address. Over TCP it chooses one that nobody has;
    // over UDP also one that another socket of this user shares.
    let address = tcp.local_addr().unwrap_or(address);
    let udp = (0..count.get()).map(|_| open_udp(address)).collect::<Result<_, _>>()?;
    Ok(Opened { udp, tcp })
}

/// Whether "every address" of a family cannot be listened on because the machine has no such family.
pub(super) fn is_family_absent(error: &BindError) -> bool {
    let is_absent =
        error.source.kind() == io::ErrorKind::AddrNotAvailable || error.source.raw_os_error() == Some(EAFNOSUPPORT);
    error.address.is_ipv6() && error.address.ip().is_unspecified() && is_absent
}

/// Opens a UDP socket that shares its address with others of this process's user: the kernel spreads clients over them.
fn open_udp(address: SocketAddr) -> Result<UdpSocket, BindError> {
    let open = || -> io::Result<UdpSocket> {
        let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket::socket(family, SockType::Datagram, flags, None)?;
        socket::setsockopt(&socket, sockopt::ReusePort, &true)?;
        // Capped by net.core.rmem_max; less is no error.
        socket::setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
        if address.is_ipv6() {
            socket::setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
        }
        socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
        Ok(socket.into())
    };
    open().map_err(|source| BindError { address, protocol: "UDP", source })
}

/// Opens a TCP listener that shares its address as well: one address may be listened on beside all of them, and a new
/// configuration's sockets are opened before those of the old one close.
fn open_tcp(address: SocketAddr) -> Result<TcpListener, BindError> {
    let open = || -> io::Result<TcpListener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
        if address.is_ipv6() {
            socket::setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
        }
        socket.bind(address)?;
        socket.listen(TCP_BACKLOG)
    };
    open().map_err(|source| BindError { address, protocol: "TCP", source })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn one_address_is_listened_on_beside_all_of_them() {
        let one = open((Ipv4Addr::LOCALHOST, 0).into(), NonZeroUsize::MIN).unwrap();
        let port = one.tcp.local_addr().unwrap().port();
        open((Ipv4Addr::UNSPECIFIED, port).into(), NonZeroUsize::MIN).unwrap();
    }
}
