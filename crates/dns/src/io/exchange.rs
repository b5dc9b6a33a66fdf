//! One question to another server.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use crate::forward;

/// Asks over a socket of its own, so that the kernel picks a port nobody can foretell.
pub(super) async fn ask_by_udp(server: SocketAddr, packet: &[u8]) -> io::Result<Vec<u8>> {
    let any: SocketAddr =
        if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(packet).await?;
    let mut reply = vec![0; usize::from(u16::MAX)];
    loop {
        let len = socket.recv(&mut reply).await?;
        if forward::is_reply_to(packet, &reply[..len]) {
            reply.truncate(len);
            return Ok(reply);
        }
    }
}

/// Asks over a connection of its own.
pub(super) async fn ask_by_tcp(server: SocketAddr, packet: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(packet.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes(), packet].concat()).await?;
    let mut reply = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut reply).await?;
    if forward::is_reply_to(packet, &reply) { Ok(reply) } else { Err(io::ErrorKind::InvalidData.into()) }
}
