//! Opening sockets.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage, sockopt};
use tokio::net::{TcpListener, TcpSocket, UdpSocket};

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

/// Opens a UDP socket that shares its address with others of this process's user: the kernel spreads clients over them.
pub(super) fn open_udp(address: SocketAddr) -> Result<UdpSocket, BindError> {
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
        UdpSocket::from_std(socket.into())
    };
    open().map_err(|source| BindError { address, protocol: "UDP", source })
}

/// Opens a TCP listener.
pub(super) fn open_tcp(address: SocketAddr) -> Result<TcpListener, BindError> {
    let open = || -> io::Result<TcpListener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(TCP_BACKLOG)
    };
    open().map_err(|source| BindError { address, protocol: "TCP", source })
}
